#!/usr/bin/env python3
"""A second implementation of sealed requests and replies.

It was written from docs/wire-sealing.md and public standards alone, to test that
page and the Go code against each other. It needs Python 3.8 and nothing else.

It reads one JSON object from the standard input and writes one to the standard
output. Byte strings are lowercase hex. "op" names the operation; each is a
function op_... at the end of this file. What is refused gives {"error": text}.

For tests only: nothing here takes the same time for all secrets.
"""

import hashlib
import hmac
import json
import os
import sys

class Refused(Exception):
    """The input is well-formed JSON, but does not open or is not valid."""

def need(condition, text):
    if not condition:
        raise Refused(text)

def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))

def number(value):
    """A number of the format: 8 bytes, unsigned and big endian."""
    return value.to_bytes(8, "big")

# --- HKDF-SHA256 (RFC 5869) ----------------------------------------------------------
def hkdf_extract(salt, ikm):
    # HMAC pads its key with zeros, so an empty salt is the same as 32 zero bytes.
    return hmac.new(salt, ikm, hashlib.sha256).digest()

def hkdf_expand(prk, info, length):
    out, block, i = b"", b"", 1
    while len(out) < length:
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out += block
        i += 1
    return out[:length]

def derive(secret, what, length=32):
    """The format's keys: extract without salt, then expand."""
    return hkdf_expand(hkdf_extract(b"", secret), b"credbus-wire-1 " + what, length)

# --- AES-256 (FIPS 197), encryption only: that is all that GCM needs -----------------
def _aes_tables():
    # Powers and logarithms of 3 in GF(2^8) give inverses, and these the S-box.
    power, log, x = [0] * 256, [0] * 256, 1
    for i in range(255):
        power[i], log[x] = x, i
        x ^= (x << 1) ^ (0x11B if x & 0x80 else 0)
    sbox = []
    for b in range(256):
        inv = power[(255 - log[b]) % 255] if b else 0
        s = 0x63
        for shift in range(5):  # the byte and its rotations by 1 to 4
            s ^= ((inv << shift) | (inv >> (8 - shift))) & 0xFF
        sbox.append(s)
    # SubBytes and MixColumns at once: the column that a byte of row 0 yields.
    # Those of rows 1 to 3 are the same, turned by 8, 16 and 24 bits.
    rows = [[], [], [], []]
    for s in sbox:
        s2 = (s << 1) ^ (0x11B if s & 0x80 else 0)
        word = s2 << 24 | s << 16 | s << 8 | (s2 ^ s)
        for r in range(4):
            rows[r].append((word >> 8 * r | word << (32 - 8 * r)) & 0xFFFFFFFF)
    return sbox, rows

SBOX, (T0, T1, T2, T3) = _aes_tables()

def sub_bytes(a, b, c, d):
    """A word of the S-box's values for the first byte of a, the second of b, and so on."""
    return SBOX[a >> 24] << 24 | SBOX[b >> 16 & 255] << 16 | SBOX[c >> 8 & 255] << 8 | SBOX[d & 255]

def aes256_round_keys(key):
    """The 15 round keys of 4 words each, in one list of 60 words."""
    words = [int.from_bytes(key[i:i + 4], "big") for i in range(0, 32, 4)]
    rcon = 1
    for i in range(8, 60):
        t = words[i - 1]
        if i % 8 == 0:
            t = (t << 8 | t >> 24) & 0xFFFFFFFF
            t = sub_bytes(t, t, t, t) ^ rcon << 24
            rcon <<= 1
        elif i % 8 == 4:
            t = sub_bytes(t, t, t, t)
        words.append(words[i - 8] ^ t)
    return words

def aes256_block(words, block):
    """Encrypts one block; it and the result are numbers of 128 bits."""
    a = block >> 96 ^ words[0]
    b = (block >> 64 & 0xFFFFFFFF) ^ words[1]
    c = (block >> 32 & 0xFFFFFFFF) ^ words[2]
    d = (block & 0xFFFFFFFF) ^ words[3]
    for i in range(4, 56, 4):
        a, b, c, d = (
            T0[a >> 24] ^ T1[b >> 16 & 255] ^ T2[c >> 8 & 255] ^ T3[d & 255] ^ words[i],
            T0[b >> 24] ^ T1[c >> 16 & 255] ^ T2[d >> 8 & 255] ^ T3[a & 255] ^ words[i + 1],
            T0[c >> 24] ^ T1[d >> 16 & 255] ^ T2[a >> 8 & 255] ^ T3[b & 255] ^ words[i + 2],
            T0[d >> 24] ^ T1[a >> 16 & 255] ^ T2[b >> 8 & 255] ^ T3[c & 255] ^ words[i + 3])
    # The last round does not mix columns.
    return ((sub_bytes(a, b, c, d) ^ words[56]) << 96 | (sub_bytes(b, c, d, a) ^ words[57]) << 64
            | (sub_bytes(c, d, a, b) ^ words[58]) << 32 | (sub_bytes(d, a, b, c) ^ words[59]))

# --- GCM (NIST SP 800-38D), nonces of 12 bytes and tags of 16 ------------------------
class AES256GCM:
    def __init__(self, key):
        self.words = aes256_round_keys(key)
        # tables[i][byte] = the product of the hash key and a block that is zero
        # except for that byte at place i. GCM's bits run from the left, so that
        # the next power of x is a shift to the right.
        v, powers = aes256_block(self.words, 0), []
        for _ in range(128):
            powers.append(v)
            v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
        self.tables = []
        for i in range(16):
            table = [0] * 256
            for bit in range(8):
                for low in range(1 << bit):
                    table[1 << bit | low] = table[low] ^ powers[8 * i + 7 - bit]
            self.tables.append(table)

    def _tag(self, nonce, ciphertext, data):
        blocks = b"".join((data, bytes(-len(data) % 16), ciphertext, bytes(-len(ciphertext) % 16),
                           number(8 * len(data)), number(8 * len(ciphertext))))
        y = 0
        for i in range(0, len(blocks), 16):
            y ^= int.from_bytes(blocks[i:i + 16], "big")
            z = 0
            for table, byte in zip(self.tables, y.to_bytes(16, "big")):
                z ^= table[byte]
            y = z
        first = int.from_bytes(nonce + b"\0\0\0\1", "big")
        return (y ^ aes256_block(self.words, first)).to_bytes(16, "big")

    def _crypt(self, nonce, text):
        counter = int.from_bytes(nonce + b"\0\0\0\2", "big")
        stream = b"".join(aes256_block(self.words, counter + i).to_bytes(16, "big")
                          for i in range((len(text) + 15) // 16))
        return xor(text, stream)

    def seal(self, nonce, plaintext, data):
        ciphertext = self._crypt(nonce, plaintext)
        return ciphertext + self._tag(nonce, ciphertext, data)

    def open(self, nonce, sealed, data):
        need(len(sealed) >= 16, "too short for a tag")
        ciphertext, tag = sealed[:-16], sealed[-16:]
        need(hmac.compare_digest(tag, self._tag(nonce, ciphertext, data)), "does not open")
        return self._crypt(nonce, ciphertext)

# --- X25519 (RFC 7748) ---------------------------------------------------------------
P = 2 ** 255 - 19

def x25519(private, u_bytes=b"\x09" + bytes(31)):
    """The shared secret, or without the other's key the public key."""
    k = int.from_bytes(private, "little")
    k = k & ~7 & (1 << 255) - 1 | 1 << 254
    x1 = (int.from_bytes(u_bytes, "little") & (1 << 255) - 1) % P
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")

# --- Ed25519 (RFC 8032) --------------------------------------------------------------
# Points are (X, Y, Z, T) with x = X/Z, y = Y/Z and x*y = T/Z.
ORDER = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)  # a square root of -1

def ed_add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P

def ed_multiply(k, p):
    q = (0, 1, 1, 0)
    while k:
        if k & 1:
            q = ed_add(q, p)
        p = ed_add(p, p)
        k >>= 1
    return q

def ed_encode(p):
    z = pow(p[2], P - 2, P)
    return (p[1] * z % P | (p[0] * z % P & 1) << 255).to_bytes(32, "little")

def ed_decode(text):
    """The point, or None if there is none."""
    y = int.from_bytes(text, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    if y >= P:
        return None
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P

BASE = ed_decode((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))

def sha512_number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little") % ORDER

def ed25519_sign(seed, message):
    """The public key, and the signature."""
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254
    public = ed_encode(ed_multiply(a, BASE))
    r = sha512_number(h[32:], message)
    point = ed_encode(ed_multiply(r, BASE))
    s = (r + sha512_number(point, public, message) * a) % ORDER
    return public, point + s.to_bytes(32, "little")

def ed25519_verify(public, message, signature):
    if len(public) != 32 or len(signature) != 64:
        return False
    a, s = ed_decode(public), int.from_bytes(signature[32:], "little")
    if a is None or s >= ORDER:
        return False
    k = sha512_number(signature[:32], public, message)
    minus_a = (P - a[0], a[1], 1, P - a[3])
    r = ed_add(ed_multiply(s, BASE), ed_multiply(k, minus_a))
    return ed_encode(r) == signature[:32]

# --- ML-KEM-768 (FIPS 203) -----------------------------------------------------------
Q, K, DU, DV = 3329, 3, 10, 4  # both eta are 2

def _bit_reverse7(i):
    return int(format(i, "07b")[::-1], 2)

ZETAS = [pow(17, _bit_reverse7(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _bit_reverse7(i) + 1, Q) for i in range(128)]

def encode(poly, bits):
    """256 numbers of so many bits, the lowest bit first."""
    return sum(c << bits * i for i, c in enumerate(poly)).to_bytes(32 * bits, "little")

def decode(text, bits):
    n, mask = int.from_bytes(text, "little"), (1 << bits) - 1
    return [n >> bits * i & mask for i in range(256)]

def compress(poly, bits):
    return [((c << bits) + Q // 2) // Q & (1 << bits) - 1 for c in poly]

def decompress(poly, bits):
    return [(c * Q + (1 << bits - 1)) >> bits for c in poly]

def ntt(f):
    f, i, length = list(f), 1, 128
    while length >= 2:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = ZETAS[i] * f[j + length]
                f[j], f[j + length] = (f[j] + t) % Q, (f[j] - t) % Q
            i += 1
        length //= 2
    return f

def ntt_inverse(f):
    f, i, length = list(f), 127, 2
    while length <= 128:
        for start in range(0, 256, 2 * length):
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = ZETAS[i] * (f[j + length] - t) % Q
            i -= 1
        length *= 2
    return [c * 3303 % Q for c in f]

def add(f, g):
    return [(a + b) % Q for a, b in zip(f, g)]

def dot(fs, gs):
    """The sum of the products of two vectors, in the NTT's domain."""
    h = [0] * 256
    for f, g in zip(fs, gs):
        for i in range(128):
            a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
            h[2 * i] += a0 * b0 + a1 * b1 * GAMMAS[i]
            h[2 * i + 1] += a0 * b1 + a1 * b0
    return [c % Q for c in h]

def sample_matrix(rho):
    """A: entry [i][j] is drawn uniformly from rho, j and i."""
    def sample(seed):
        size = 840
        while True:
            text, out = hashlib.shake_128(seed).digest(size), []
            for i in range(0, size, 3):
                for d in (text[i] | (text[i + 1] & 15) << 8, text[i + 1] >> 4 | text[i + 2] << 4):
                    if d < Q:
                        out.append(d)
            if len(out) >= 256:
                return out[:256]
            size *= 2
    return [[sample(rho + bytes([j, i])) for j in range(K)] for i in range(K)]

def sample_small(seed, n):
    """A polynomial with the centered binomial distribution, eta = 2."""
    bits = int.from_bytes(hashlib.shake_256(seed + bytes([n])).digest(128), "little")
    nibbles = [bits >> 4 * i & 15 for i in range(256)]
    return [((v & 1) + (v >> 1 & 1) - (v >> 2 & 1) - (v >> 3)) % Q for v in nibbles]

def pke_encrypt(ek, message, r):
    t = [decode(ek[384 * i:384 * i + 384], 12) for i in range(K)]
    a = sample_matrix(ek[384 * K:])
    y = [ntt(sample_small(r, n)) for n in range(K)]
    e1 = [sample_small(r, K + n) for n in range(K)]
    e2 = sample_small(r, 2 * K)
    u = [add(ntt_inverse(dot([a[j][i] for j in range(K)], y)), e1[i]) for i in range(K)]
    mu = decompress(decode(message, 1), 1)
    v = add(add(ntt_inverse(dot(t, y)), e2), mu)
    return b"".join(encode(compress(f, DU), DU) for f in u) + encode(compress(v, DV), DV)

class MLKEM768:
    """A recipient's keys, from the seed d ‖ z."""

    def __init__(self, seed):
        self.z = seed[32:]
        g = hashlib.sha3_512(seed[:32] + bytes([K])).digest()
        rho, sigma = g[:32], g[32:]
        a = sample_matrix(rho)
        self.s = [ntt(sample_small(sigma, n)) for n in range(K)]
        e = [ntt(sample_small(sigma, K + n)) for n in range(K)]
        self.public = b"".join(encode(add(dot(a[i], self.s), e[i]), 12) for i in range(K)) + rho

    def decapsulate(self, ct):
        u = [decompress(decode(ct[320 * i:320 * i + 320], DU), DU) for i in range(K)]
        v = decompress(decode(ct[320 * K:], DV), DV)
        su = ntt_inverse(dot(self.s, [ntt(f) for f in u]))
        message = encode(compress([(a - b) % Q for a, b in zip(v, su)], 1), 1)
        g = hashlib.sha3_512(message + hashlib.sha3_256(self.public).digest()).digest()
        if pke_encrypt(self.public, message, g[32:]) == ct:
            return g[:32]
        return hashlib.shake_256(self.z + ct).digest(32)  # implicit rejection

def mlkem768_encapsulate(ek, message):
    """The shared secret and the ciphertext; message is 32 random bytes."""
    for i in range(K):
        need(all(c < Q for c in decode(ek[384 * i:384 * i + 384], 12)), "not a key of ML-KEM-768")
    g = hashlib.sha3_512(message + hashlib.sha3_256(ek).digest()).digest()
    return g[:32], pke_encrypt(ek, message, g[32:])

# --- The KEM: MLKEM768-X25519, or X-Wing ---------------------------------------------
def join_secrets(ss_m, ss_x, ct_x, pk_x):
    # RFC 7748 lets either side refuse a key that gives a secret of zeros.
    need(any(ss_x), "an X25519 key of low order")
    return hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + bytes.fromhex("5c2e2f2f5e5c")).digest()

class Recipient:
    """The workers' keys, from their seed of 32 bytes."""

    def __init__(self, seed):
        need(len(seed) == 32, "a seed has 32 bytes")
        parts = hashlib.shake_256(seed).digest(96)
        self.mlkem, self.x = MLKEM768(parts[:64]), parts[64:]
        self.pk_x = x25519(self.x)
        self.public = self.mlkem.public + self.pk_x

    def decapsulate(self, enc):
        need(len(enc) == 1120, "an encapsulated key has 1,120 bytes")
        ct_m, ct_x = enc[:1088], enc[1088:]
        return join_secrets(self.mlkem.decapsulate(ct_m), x25519(self.x, ct_x), ct_x, self.pk_x)

def encapsulate(key):
    need(len(key) == 1216, "a key has 1,216 bytes")
    pk_m, pk_x = key[:1184], key[1184:]
    ss_m, ct_m = mlkem768_encapsulate(pk_m, os.urandom(32))
    private = os.urandom(32)
    ct_x = x25519(private)
    return join_secrets(ss_m, x25519(private, pk_x), ct_x, pk_x), ct_m + ct_x

# --- HPKE (RFC 9180), base mode: only the way to an exported secret ------------------
SUITE = b"HPKE" + bytes.fromhex("647a" "0001" "0002")

def labeled_extract(salt, label, ikm):
    return hkdf_extract(salt, b"HPKE-v1" + SUITE + label + ikm)

def labeled_expand(prk, label, info, length):
    return hkdf_expand(prk, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info, length)

def session_secret(shared_secret):
    context = (b"\0" + labeled_extract(b"", b"psk_id_hash", b"")
               + labeled_extract(b"", b"info_hash", b"credbus-wire-1"))
    secret = labeled_extract(shared_secret, b"secret", b"")
    exporter = labeled_expand(secret, b"exp", context, 32)
    return labeled_expand(exporter, b"sec", b"secret", 32)

# --- The format ----------------------------------------------------------------------
REQUEST, REPLY, FAILED = b"\xc1\x01", b"\xc1\x02", b"\xc1\x03"
TICKET = 8 + 12 + 32 + 8 + 16
SIGNED = b"credbus-wire-1 key"

def key_id(key):
    return hashlib.sha256(key).digest()[:8]

def cipher(secret, what):
    return AES256GCM(derive(secret, what))

def arg(request, name, length=None):
    """A byte string of the operation's arguments."""
    value = bytes.fromhex(request[name])
    need(length in (None, len(value)), "%s must have %s bytes" % (name, length))
    return value

# Of a client:
def op_verify(r):
    return {"valid": ed25519_verify(arg(r, "signer"), SIGNED + arg(r, "key"), arg(r, "signature"))}

def op_agree(r):
    shared_secret, enc = encapsulate(arg(r, "key"))
    return {"encapsulated": enc, "secret": session_secret(shared_secret)}

def op_keys(r):
    secret = arg(r, "secret", 32)
    return {"request": derive(secret, b"request"), "reply": derive(secret, b"reply"),
            "id": derive(secret, b"id", 8)}

def op_seal_request(r):
    nonce = os.urandom(12)
    sealed = cipher(arg(r, "secret", 32), b"request").seal(nonce, number(r["elapsed"]) + arg(r, "body"), r["about"].encode())
    return {"message": REQUEST + arg(r, "ticket", TICKET) + nonce + sealed, "nonce": nonce}

def op_open_reply(r):
    message = arg(r, "message")
    start, nonce, sealed = message[:2], message[2:14], message[14:]
    need(start in (REPLY, FAILED), "not a sealed reply")
    body = cipher(arg(r, "secret", 32), b"reply").open(nonce, sealed, start[1:] + arg(r, "nonce", 12))
    return {"body": body, "failed": start == FAILED}

# Of a worker:
def op_public(r):
    key = Recipient(arg(r, "seed")).public
    return {"key": key, "key_id": key_id(key).hex()}

def op_sign(r):
    seed = derive(arg(r, "shared"), b"signer")
    signer, signature = ed25519_sign(seed, SIGNED + arg(r, "key"))
    return {"signer": signer, "signature": signature}

def op_decapsulate(r):
    return {"secret": session_secret(Recipient(arg(r, "seed")).decapsulate(arg(r, "encapsulated")))}

def op_issue(r):
    seed, nonce = arg(r, "seed"), os.urandom(12)
    kid = key_id(Recipient(seed).public)
    plaintext = arg(r, "secret", 32) + number(r["begun"])
    return {"ticket": kid + nonce + cipher(seed, b"ticket").seal(nonce, plaintext, kid)}

def op_open_request(r):
    seed, message = arg(r, "seed"), arg(r, "message")
    need(message[:2] == REQUEST, "not a sealed request")
    need(len(message) >= 2 + TICKET + 8 + 12 + 16, "too short for a sealed request")
    ticket, rest = message[2:2 + TICKET], message[2 + TICKET:]
    nonce, sealed = rest[:12], rest[12:]
    kid = key_id(Recipient(seed).public)
    need(ticket[:8] == kid, "a ticket of another key")
    plaintext = cipher(seed, b"ticket").open(ticket[8:20], ticket[20:], kid)
    secret, begun = plaintext[:32], plaintext[32:]
    plaintext = cipher(secret, b"request").open(nonce, sealed, r["about"].encode())
    elapsed, body = plaintext[:8], plaintext[8:]
    return {"secret": secret, "begun": int.from_bytes(begun, "big"), "elapsed": int.from_bytes(elapsed, "big"),
            "id": derive(secret, b"id", 8) + nonce, "body": body}

def op_seal_reply(r):
    start, nonce = FAILED if r["failed"] else REPLY, os.urandom(12)
    data = start[1:] + arg(r, "nonce", 12)
    return {"message": start + nonce + cipher(arg(r, "secret", 32), b"reply").seal(nonce, arg(r, "body"), data)}

OPERATIONS = {name[3:]: f for name, f in list(globals().items()) if name.startswith("op_")}

def main():
    request = json.load(sys.stdin.buffer)
    try:
        need(request["op"] in OPERATIONS, "no such operation")
        reply = OPERATIONS[request["op"]](request)
    except Refused as err:
        reply = {"error": str(err)}
    json.dump({k: v.hex() if isinstance(v, bytes) else v for k, v in reply.items()}, sys.stdout)
    print()

if __name__ == "__main__":
    main()
