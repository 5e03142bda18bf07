package subjects

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// fit puts the results into a reply, one after the other.
func fit[T any, P Item[T]](reply *BatchReply[T, P], limit int, size func([]byte) int) {
	filling := NewFilling[T, P](len(reply.Results), Room{Limit: limit, Size: size}, func(i int) (Scope, ID) {
		if err := reply.Results[i].Err; err != nil {
			return err.Scope, err.ID
		}
		return P(&reply.Results[i].Reply).about()
	})
	for i, result := range reply.Results {
		filling.Put(i, result)
	}
	reply.Results = filling.Reply().Results
}

// TestFillingIsFull: once a result of the usual size does not fit, the items that were not
// begun can be left. A result that is too large by itself does not keep others out.
func TestFillingIsFull(t *testing.T) {
	value := func(size int) Result[RetrieveReply, *RetrieveReply] {
		return Result[RetrieveReply, *RetrieveReply]{Reply: RetrieveReply{Credential: Credential{Scope: "org:acme", ID: "id", Data: Value(make([]byte, size))}}}
	}
	filling := NewFilling[RetrieveReply](5, Room{Limit: 40 << 10, Size: func(msgpack []byte) int { return len(msgpack) }},
		func(int) (Scope, ID) { return "org:acme", "id" })
	for i, step := range []struct {
		size int
		kept bool
		full bool
	}{{64 << 10, false, false}, {15 << 10, true, false}, {15 << 10, true, false}, {15 << 10, false, true}} {
		filling.Put(i, value(step.size))
		if kept := filling.Reply().Results[i].Err == nil; kept != step.kept || filling.Full() != step.full {
			t.Errorf("result %d: kept %v, full %v", i, kept, filling.Full())
		}
	}
	filling.Leave(4)
	if err := filling.Reply().Results[4].Err; !errors.Is(err, &Error{Code: PayloadTooLarge}) || !err.Retryable || err.ID != "id" {
		t.Errorf("a result that was left has the error %v", err)
	}
}

// TestFitRefusesWhatDoesNotFit measures a reply in both encodings. Quotes take
// two bytes each in JSON, so that fewer results fit there.
func TestFitRefusesWhatDoesNotFit(t *testing.T) {
	const limit = 45 << 10
	asJSON := func(msgpack []byte) int {
		text, err := ToJSON(msgpack)
		if err != nil {
			t.Fatal(err)
		}
		return len(text)
	}
	asMsgpack := func(msgpack []byte) int { return len(msgpack) }
	for _, test := range []struct {
		name string
		size func([]byte) int
		kept map[int]bool
	}{
		{"msgpack", asMsgpack, map[int]bool{0: true, 2: true, 3: true, 5: true, 6: true}},
		{"json", asJSON, map[int]bool{0: true, 2: true, 5: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var reply RetrieveBatchReply
			var values [][]byte
			for i, size := range []int{10 << 10, 0, 10 << 10, 10 << 10, 50 << 10, 1 << 10, 1 << 10} {
				value := bytes.Repeat([]byte(`"`), size)
				values = append(values, value)
				reply.Results = append(reply.Results, Result[RetrieveReply, *RetrieveReply]{
					Reply: RetrieveReply{Credential: Credential{Scope: "org:acme", ID: ID(fmt.Sprint("k", i)), Data: Value(value)}},
				})
			}
			missing := Errorf(NotFound, "no such credential")
			missing.Scope, missing.ID = "org:acme", "k1"
			reply.Results[1] = Result[RetrieveReply, *RetrieveReply]{Err: missing}

			fit(&reply, limit, test.size)

			reply.Revision = sampleRevision
			if n := test.size(encoded(&reply)); n > limit {
				t.Errorf("the reply has %d bytes, over %d", n, limit)
			}
			for i, result := range reply.Results {
				scope, id := result.Reply.Scope, result.Reply.ID
				if result.Err != nil {
					scope, id = result.Err.Scope, result.Err.ID
				}
				if scope != "org:acme" || id != ID(fmt.Sprint("k", i)) {
					t.Errorf("result %d is about %s/%s", i, scope, id)
				}
				switch {
				case i == 1:
					if result.Err != missing {
						t.Errorf("the error of result 1 became %v", result.Err)
					}
				case test.kept[i]:
					if result.Err != nil || !bytes.Equal(result.Reply.Data[ValueName].Bytes(), values[i]) {
						t.Errorf("result %d is not kept: %v", i, result.Err)
					}
				case !errors.Is(result.Err, &Error{Code: PayloadTooLarge}) || !result.Err.Retryable:
					t.Errorf("result %d: %v", i, result.Err)
				case !bytes.Equal(values[i], make([]byte, len(values[i]))):
					t.Errorf("the value of refused result %d is not wiped", i)
				}
			}
			reply.Wipe()
			for i, value := range values {
				if i != 1 && !bytes.Equal(value, make([]byte, len(value))) {
					t.Errorf("value %d is left after Wipe", i)
				}
			}
		})
	}
}

// TestFitKeepsWhatFits: a reply within its limit is left as it is.
func TestFitKeepsWhatFits(t *testing.T) {
	reply := resultsOf[RetrieveReply](RetrieveReply{Credential: sampleCredential()})
	before := encoded(reply)
	fit(reply, 1<<20, func(msgpack []byte) int { return len(msgpack) })
	if !bytes.Equal(encoded(reply), before) {
		t.Error("a reply that fits was changed")
	}
}

// TestFitOfWrites: a write whose result does not fit took effect all the same.
func TestFitOfWrites(t *testing.T) {
	var stored StoreBatchReply
	var deleted DeleteBatchReply
	var validated ValidateBatchReply
	for i := range 100 {
		target := Target{Scope: "org:acme", ID: ID(fmt.Sprint("k", i))}
		stored.Results = append(stored.Results, Result[StoreReply, *StoreReply]{Reply: StoreReply{Target: target, Version: string(bytes.Repeat([]byte("v"), 500))}})
		deleted.Results = append(deleted.Results, Result[DeleteReply, *DeleteReply]{Reply: DeleteReply{Target: target}})
		validated.Results = append(validated.Results, Result[ValidateReply, *ValidateReply]{Reply: ValidateReply{Target: target, Reason: string(bytes.Repeat([]byte("r"), 500))}})
	}
	refused := Errorf(VersionConflict, "nothing was written")
	refused.Scope, refused.ID = "org:acme", "k0"
	stored.Results[0] = Result[StoreReply, *StoreReply]{Err: refused}
	size := func(msgpack []byte) int { return len(msgpack) }
	fit(&stored, 1<<10, size)
	fit(&deleted, 1<<10, size)
	fit(&validated, 1<<10, size)
	for i := range 100 {
		if err := stored.Results[i].Err; i == 0 && (err != refused || err.OutcomeUnknown) ||
			i > 0 && (err == nil || err.Code != PayloadTooLarge || !err.OutcomeUnknown || !err.Retryable) {
			t.Errorf("store %d: %+v", i, err)
		}
		if err := deleted.Results[i].Err; err != nil { // its refusal would be longer
			t.Errorf("delete %d: %+v", i, err)
		}
		if err := validated.Results[i].Err; err == nil || err.OutcomeUnknown {
			t.Errorf("validate %d: %+v", i, err)
		}
	}
}

// A field of the whole request is refused in an item, where it would be ignored. The other
// items are not affected.
func TestItemsRefuseFieldsOfTheRequest(t *testing.T) {
	for _, field := range []string{`"request_id":"r1"`, `"timeout":5`, `"deadline":5`, `"revision":"1-1"`} {
		items := `{"items":[{"id":"a",` + field + `},{"id":"b"}]}`
		body, err := FromJSON([]byte(items))
		if err != nil {
			t.Fatal(err)
		}
		var retrieve RetrieveBatchRequest
		var validate ValidateBatchRequest
		var job JobOf[DeleteItem, *DeleteItem]
		for what, request := range map[string]struct {
			Message
			refused *map[int]error
		}{
			"retrieve_batch": {&retrieve, &retrieve.Refused},
			"validate_batch": {&validate, &validate.Refused},
			"job":            {&job, &job.Request.Refused},
		} {
			if err := Decode(bytes.Clone(body), request.Message); err != nil {
				t.Errorf("%s with %s: %v", what, items, err)
			}
			if refused := *request.refused; refused[0] == nil || !strings.Contains(refused[0].Error(), "put it beside items") || refused[1] != nil {
				t.Errorf("%s with %s: refused are %v", what, items, refused)
			}
		}
	}
}
