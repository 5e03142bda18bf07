package worker

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"credbus/internal/seal"
	"credbus/internal/store"
	"credbus/subjects"
)

// storeIt stores item and returns its error.
func (b *bed) storeIt(t *testing.T, scope subjects.Scope, item subjects.StoreItem) *subjects.Error {
	t.Helper()
	return b.ask(t, subjects.Store, scope, &subjects.StoreRequest{StoreItem: item}, new(subjects.StoreReply))
}

func TestLimitsOfNamesAndData(t *testing.T) {
	b := newBed(t)
	const scope subjects.Scope = "org:acme"
	sized := func(n int) subjects.StoreItem {
		i := item("big", "")
		i.Data = subjects.Value([]byte(strings.Repeat("x", n)))
		return i
	}
	tagged := func(n, key, value int) subjects.StoreItem {
		i := item("tagged", "v")
		i.Tags = make(map[string]string)
		for n := range n {
			i.Tags[fmt.Sprintf("%0*d", key, n)] = strings.Repeat("é", value)
		}
		return i
	}
	long := func(n int) subjects.Scope { // of 8 levels
		s := strings.Repeat("l:"+strings.Repeat("v", 61)+"/", 7) + "l:"
		return subjects.Scope(s + strings.Repeat("v", n-len(s)))
	}
	for _, test := range []struct {
		name  string
		scope subjects.Scope
		item  subjects.StoreItem
		want  subjects.Code
		says  string
	}{
		{"64 KiB", scope, sized(64 << 10), "", ""},
		{"64 KiB and a byte", scope, sized(64<<10 + 1), subjects.PayloadTooLarge, "65536"},
		{"no data", scope, subjects.StoreItem{Target: subjects.Target{ID: "none"}}, subjects.InvalidArgument, "at least one"},
		{"50 tags", scope, tagged(50, 128, 256), "", ""},
		{"51 tags", scope, tagged(51, 3, 1), subjects.InvalidArgument, "50"},
		{"tag key of 129", scope, tagged(1, 129, 1), subjects.InvalidArgument, "128"},
		{"tag value of 257", scope, tagged(1, 1, 257), subjects.InvalidArgument, "256"},
		{"ID of 255", scope, item(subjects.ID(strings.Repeat("i", 255)), "v"), "", ""},
		{"ID of 256", scope, item(subjects.ID(strings.Repeat("i", 256)), "v"), subjects.InvalidArgument, "255"},
		{"scope of 512", long(512), item("db", "v"), "", ""},
		{"scope of 513", long(513), item("db", "v"), subjects.InvalidArgument, "512"},
		{"scope of 9 levels", "a:1/b:2/c:3/d:4/e:5/f:6/g:7/h:8/i:9", item("db", "v"), subjects.InvalidArgument, "8 levels"},
		{"root scope", subjects.Root, item("db", "v"), subjects.InvalidArgument, "org:acme"},
	} {
		told := b.storeIt(t, test.scope, test.item)
		switch {
		case test.want == "" && told != nil:
			t.Errorf("%s: %v", test.name, told)
		case test.want == "":
			reply := new(subjects.RetrieveReply)
			b.must(t, subjects.Retrieve, test.scope, retrieve(test.item.ID), reply)
			got, want := reply.Data[subjects.ValueName].Bytes(), test.item.Data[subjects.ValueName].Bytes()
			if string(got) != string(want) || !maps.Equal(reply.Tags, test.item.Tags) {
				t.Errorf("%s: comes back with %d bytes and %d tags", test.name, len(got), len(reply.Tags))
			}
		case told == nil || told.Code != test.want || !strings.Contains(told.Message, test.says):
			t.Errorf("%s: %v, want %s with %q", test.name, told, test.want, test.says)
		}
	}
	// The same scope named in the body, from the root.
	request := retrieve("db")
	request.Scope = long(512)
	b.must(t, subjects.Retrieve, subjects.Root, request, new(subjects.RetrieveReply))
	request.Scope = long(513)
	wantCode(t, b.ask(t, subjects.Retrieve, subjects.Root, request, new(subjects.RetrieveReply)), subjects.InvalidArgument)
}

func TestLimitsOfBatches(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory")
	const scope subjects.Scope = "org:acme"
	var stores []subjects.StoreItem
	var reads []subjects.RetrieveItem
	var deletes []subjects.DeleteItem
	validate := new(subjects.ValidateBatchRequest)
	for n := range subjects.MaxBatchItems + 1 {
		i := item(subjects.ID(fmt.Sprintf("id-%03d", n)), "v")
		stores = append(stores, i)
		reads = append(reads, subjects.RetrieveItem{Target: i.Target})
		deletes = append(deletes, subjects.DeleteItem{Target: i.Target})
		validate.Items = append(validate.Items, i.Target)
	}
	const most = subjects.MaxBatchItems
	for _, test := range []struct {
		command     subjects.Command
		over, exact subjects.Message
	}{
		{subjects.StoreBatch, &subjects.StoreBatchRequest{Items: stores}, &subjects.StoreBatchRequest{Items: stores[:most]}},
		{subjects.RetrieveBatch, &subjects.RetrieveBatchRequest{Items: reads}, &subjects.RetrieveBatchRequest{Items: reads[:most]}},
		{subjects.ValidateBatch, validate, &subjects.ValidateBatchRequest{BatchRequest: subjects.BatchRequest[subjects.Target, *subjects.Target]{Items: validate.Items[:most]}}},
		{subjects.DeleteBatch, &subjects.DeleteBatchRequest{Items: deletes}, &subjects.DeleteBatchRequest{Items: deletes[:most]}},
	} {
		subject := subjects.DefaultPrefix.Command(test.command, scope)
		told := failed(t, b.send(t, subject, subjects.Append(nil, test.over)))
		if told == nil || told.Code != subjects.InvalidArgument || !strings.Contains(told.Message, "100") {
			t.Errorf("%s of 101: %v", test.command, told)
		}
		msg := b.send(t, subject, subjects.Append(nil, test.exact))
		if told := failed(t, msg); told != nil {
			t.Errorf("%s of 100: %v", test.command, told)
			continue
		}
		reply := new(subjects.DeleteBatchReply) // what all results have: a target, or an error
		if err := subjects.Decode(msg.Data, reply); err != nil {
			t.Fatal(err)
		}
		for n, result := range reply.Results {
			if result.Err != nil || result.Reply.ID != stores[n].ID {
				t.Errorf("%s: result %d is about %s: %v", test.command, n, result.Reply.ID, result.Err)
			}
		}
		if len(reply.Results) != most {
			t.Errorf("%s: %d results", test.command, len(reply.Results))
		}
		wantCode(t, failed(t, b.send(t, subject, nil)), subjects.InvalidArgument) // no items
	}
}

// If the values of a batch do not fit into one message, the reply has as many
// as fit.
func TestBatchReplyOverMaximumPayload(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory")
	const scope, items, length = "org:acme", 30, 60_000
	request := new(subjects.RetrieveBatchRequest)
	for n := range items {
		id := subjects.ID(fmt.Sprintf("id-%02d", n))
		b.put(t, scope, id, strings.Repeat(string(rune('a'+n%26)), length))
		request.Items = append(request.Items, subjects.RetrieveItem{Target: subjects.Target{ID: id}})
	}
	body := subjects.Append(nil, request)
	text, err := subjects.ToJSON(body)
	if err != nil {
		t.Fatal(err)
	}
	for format, body := range map[string][]byte{"msgpack": body, "JSON": text} {
		msg := b.send(t, subjects.DefaultPrefix.Command(subjects.RetrieveBatch, scope), body)
		if told := failed(t, msg); told != nil {
			t.Fatalf("%s: %v", format, told)
		}
		reply := new(subjects.RetrieveBatchReply)
		if err := subjects.Decode(msgpackOf(t, msg.Data), reply); err != nil {
			t.Fatal(err)
		}
		whole := 0
		for n := range reply.Results {
			result := &reply.Results[n]
			if result.Err == nil {
				whole++
				if value := result.Reply.Data[subjects.ValueName].Bytes(); len(value) != length || value[0] != byte('a'+n%26) {
					t.Errorf("%s: result %d has %d bytes", format, n, len(value))
				}
				continue
			}
			if err := result.Err; err.Code != subjects.PayloadTooLarge || !err.Retryable || err.ID != request.Items[n].ID || err.Scope != scope {
				t.Errorf("%s: result %d: %+v", format, n, err)
			}
		}
		// As many as fit, no fewer: 1 MiB over 60,000 bytes each.
		if len(reply.Results) != items || whole != (1<<20)/length {
			t.Errorf("%s: %d of %d results are whole", format, whole, len(reply.Results))
		}
	}
}

func TestListOfTenThousand(t *testing.T) {
	b := newBed(t, "CREDBUS_STORE_TYPE=memory")
	const count = 10_000
	description := strings.Repeat("d", subjects.MaxDescriptionLen) // so that a thousand do not fit
	for n := range count {
		// Directly into the store: this test does not measure the commands.
		record := &store.Record{
			Target:  subjects.Target{Scope: subjects.Scope(fmt.Sprintf("org:acme/team:t%d", n%10)), ID: subjects.ID(fmt.Sprintf("id-%05d", n))},
			WriteID: "w", Metadata: subjects.Metadata{Description: description},
		}
		var err error
		record.Payload, record.Proof, err = b.Worker.keyring.SealRecord(nil, seal.Binding{
			Scope: string(record.Scope), ID: string(record.ID), WriteID: record.WriteID,
			Header: &seal.Header{Revision: record.Revision.String(), Description: description},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Worker.store.Put(t.Context(), record, store.Precondition{}); err != nil {
			t.Fatal(err)
		}
	}
	for json, want := range map[bool]struct {
		scope        subjects.Scope
		count, pages int
	}{
		false: {"org:acme", count, 40},
		true:  {"org:acme/team:t1", count / 10, 4},
	} {
		seen := make(map[subjects.Target]bool)
		pages, largest := 0, 0
		var last subjects.Target
		for cursor := ""; ; pages++ {
			body := subjects.Append(nil, &subjects.ListRequest{Paging: subjects.Paging{Cursor: cursor, Limit: subjects.MaxListItems}})
			if json {
				text, err := subjects.ToJSON(body)
				if err != nil {
					t.Fatal(err)
				}
				body = text
			}
			msg := b.send(t, subjects.DefaultPrefix.Command(subjects.List, want.scope), body)
			if told := failed(t, msg); told != nil {
				t.Fatal(told)
			}
			largest = max(largest, len(msg.Data))
			page := new(subjects.ListReply)
			if err := subjects.Decode(msgpackOf(t, msg.Data), page); err != nil {
				t.Fatal(err)
			}
			for _, listed := range page.Items {
				key := subjects.Target{Scope: listed.Scope, ID: listed.ID}
				if key.Compare(last) <= 0 || listed.Data != nil || listed.Description != description {
					t.Fatalf("%s comes after %s", key, last)
				}
				last = key
				seen[key] = true
			}
			if cursor = page.Cursor; cursor == "" {
				break
			}
		}
		if len(seen) != want.count || largest > 1<<20 || pages < 1 || pages > want.pages {
			t.Errorf("JSON %v: %d credentials on %d pages, the largest of %d bytes", json, len(seen), pages, largest)
		}
	}
}
