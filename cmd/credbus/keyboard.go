package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"credbus/subjects"
)

// keyboard reads what a user types and pastes on a terminal in raw mode.
type keyboard struct {
	chunks chan []byte // closed at the end of input
	rest   []byte      // of the last chunk
}

// pasteGap is longer than the pauses within a paste, and shorter than a user's pause after
// the Enter key.
const pasteGap = 100 * time.Millisecond

// readKeys reads from a terminal until the program ends, since such a read cannot be
// interrupted.
func readKeys(from io.Reader) *keyboard {
	k := &keyboard{chunks: make(chan []byte)}
	go func() {
		defer close(k.chunks)
		for {
			chunk := make([]byte, 4096)
			n, err := from.Read(chunk)
			if n > 0 {
				k.chunks <- chunk[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	return k
}

// next is the next byte, or io.EOF.
func (k *keyboard) next(ctx context.Context) (byte, error) {
	if len(k.rest) == 0 {
		select {
		case chunk, open := <-k.chunks:
			if !open {
				return 0, io.EOF
			}
			k.rest = chunk
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	b := k.rest[0]
	k.rest[0] = 0
	k.rest = k.rest[1:]
	return b, nil
}

// follows reports whether more input follows at once, and returns its first byte, which
// next still yields.
func (k *keyboard) follows() (b byte, more bool) {
	if len(k.rest) == 0 {
		select {
		case k.rest = <-k.chunks:
		case <-time.After(pasteGap):
		}
	}
	if len(k.rest) == 0 {
		return 0, false
	}
	return k.rest[0], true
}

// drop discards the input that follows at once.
func (k *keyboard) drop(ctx context.Context) {
	clear(k.rest)
	k.rest = nil
	for ctx.Err() == nil {
		if _, more := k.follows(); !more {
			return
		}
		clear(k.rest)
		k.rest = nil
	}
}

const (
	ctrlC         = 0x03
	ctrlD         = 0x04
	backspace     = 0x08
	ctrlU         = 0x15
	escape        = 0x1b
	ctrlBackslash = 0x1c
	deleteKey     = 0x7f
)

// A terminal puts these around pasted text.
var (
	pasteBegins = []byte("\x1b[200~")
	pasteEnds   = []byte("\x1b[201~")
)

// value reads one value. Enter ends it, unless more follows at once: that is a paste of
// several lines on a terminal that does not mark pastes. Then it calls several, and
// Ctrl-D ends the value. It turns the line breaks that terminals send into newlines.
//
// The caller must wipe the result, even with an error.
func (k *keyboard) value(ctx context.Context, several func()) ([]byte, error) {
	// It never grows: no copy stays behind.
	value := make([]byte, 0, subjects.MaxDataLen+1+len(pasteEnds))
	lines := false
	for {
		b, err := k.next(ctx)
		if errors.Is(err, io.EOF) {
			return value, errors.New("the terminal was closed")
		}
		if err != nil {
			return value, err
		}
		switch b {
		case ctrlC, ctrlBackslash:
			return value, errInterrupted
		case ctrlD:
			return value, nil
		case '\r', '\n':
			after, more := k.follows()
			if b == '\r' && after == '\n' && more {
				if _, err = k.next(ctx); err != nil {
					return value, err
				}
				_, more = k.follows()
			}
			if !lines && !more {
				return value, nil
			}
			if !lines {
				several()
				lines = true
			}
			value = append(value, '\n')
		case backspace, deleteKey:
			_, size := utf8.DecodeLastRune(value)
			clear(value[len(value)-size:])
			value = value[:len(value)-size]
		case ctrlU:
			clear(value)
			value = value[:0]
		case escape:
			if err := k.mark(ctx); err != nil {
				return value, err
			}
			if value, err = k.paste(ctx, value); err != nil {
				return value, err
			}
		default:
			if b < ' ' && b != '\t' {
				return value, errControl(b)
			}
			value = append(value, b)
		}
		if len(value) > subjects.MaxDataLen {
			return value, errTooLong
		}
	}
}

// errControl is the error for a control character, from a key or in a paste that is not
// marked. To leave it out would change a value unnoticed.
func errControl(b byte) error {
	return fmt.Errorf("a key or a paste sent the control character U+%04X, so nothing was stored: type plain text, or use --file", b)
}

// mark reads the text after an escape character. It must be that of the mark before a
// paste.
func (k *keyboard) mark(ctx context.Context) error {
	for _, want := range pasteBegins[1:] {
		if b, more := k.follows(); !more || b != want {
			return errControl(escape)
		}
		if _, err := k.next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// paste appends a paste to value, up to its end.
func (k *keyboard) paste(ctx context.Context, value []byte) ([]byte, error) {
	const limit = subjects.MaxDataLen + 1
	broken := false
	for {
		b, err := k.next(ctx)
		switch {
		case errors.Is(err, io.EOF):
			return value, errors.New("the terminal was closed")
		case err != nil:
			return value, err
		case b == '\n' && broken:
			broken = false
			continue
		}
		if broken = b == '\r'; broken {
			b = '\n'
		}
		if len(value) == cap(value) { // too long: only look for the end
			n := copy(value[limit:], value[len(value)-len(pasteEnds)+1:])
			value = value[:limit+n]
		}
		value = append(value, b)
		if bytes.HasSuffix(value, pasteEnds) {
			return value[:len(value)-len(pasteEnds)], nil
		}
	}
}
