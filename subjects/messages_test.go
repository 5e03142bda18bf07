package subjects

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is one message type of the contract.
type sample struct {
	name string
	full Message        // with every field set
	zero func() Message // a new, empty one
}

var (
	sampleTime     = time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	sampleRevision = Revision{Stream: 0x18bcfe56800000, Seq: 42}
	sampleEnvelope = Envelope{RequestID: "req-1", Deadline: sampleTime, Revision: sampleRevision}
	timedEnvelope  = Envelope{RequestID: "req-1", Timeout: 5 * time.Second, Deadline: sampleTime, Revision: sampleRevision}
	sampleTarget   = Target{Scope: "org:acme/team:eng", ID: "api-key"}
	samplePaging   = Paging{Cursor: "org:acme/api-key", Limit: 50}
)

func sampleData() Data {
	return Data{
		"password": NewSecret([]byte("p\"\\\nä")),
		"tls.key":  NewSecret([]byte{0xff, 0x00, 0xfe}), // no UTF-8
	}
}

func sampleMetadata() Metadata {
	return Metadata{
		Description: "payment gateway",
		Tags:        map[string]string{"env": "prod", "owner": "päy"},
		Created:     sampleTime, Modified: sampleTime.Add(time.Hour), Expires: sampleTime.AddDate(1, 0, 0),
		RotationDays: 90,
		Inheritable:  true,
	}
}

func sampleCredential() Credential {
	return Credential{
		Scope: sampleTarget.Scope, ID: sampleTarget.ID, Version: "v7",
		Data: sampleData(), Metadata: sampleMetadata(), Damaged: "cannot be read",
		StaleSince: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
	}
}

func sampleStoreItem() StoreItem {
	return StoreItem{
		Target: sampleTarget, Data: sampleData(), Metadata: sampleMetadata(),
		CreateOnly: true, UpdateOnly: true, Version: "v7",
	}
}

func samplePatchItem() PatchItem {
	return PatchItem{
		Target: sampleTarget, Data: sampleData(), RemoveData: []string{"old", "user"},
		Tags: map[string]string{"env": "prod", "owner": "päy"}, RemoveTags: []string{"stage"},
		Description: new("payment gateway"), Expires: new(sampleTime), RotationDays: new(90), Inheritable: new(true), Version: "v7",
	}
}

// sampleRemoval removes all that a patch can remove.
func sampleRemoval() PatchItem {
	return PatchItem{
		Target: sampleTarget, RemoveData: []string{"value"}, RemoveAllTags: true,
		Description: new(""), Expires: new(time.Time), RotationDays: new(0), Inheritable: new(false),
	}
}

func samplePatchReply() PatchReply {
	return PatchReply{
		Target: sampleTarget, Version: "v8", Kept: Kept{1, 2, true, sampleTime, 90, true},
		AbsentData: []string{"old"}, AbsentTags: []string{"stage"},
	}
}

func sampleError() *Error {
	return &Error{Code: StorageTimeout, Message: "no answer", Scope: sampleTarget.Scope, ID: "other", Retryable: true, Revision: sampleRevision}
}

func sampleLimitedError() *Error {
	err := sampleWriteError()
	err.Code, err.RetryAfter = ResourceExhausted, 1500*time.Millisecond
	return err
}

func sampleWriteError() *Error {
	err := sampleError()
	err.OutcomeUnknown = true
	return err
}

func sampleFilter() Filter {
	return Filter{Tags: map[string]string{"env": "prod"}, IDPrefix: "api-", ExpiresBefore: sampleTime}
}

func sampleJob() Job {
	return Job{
		ID: "onboarding-0", Submission: "onboarding", Parts: 3,
		NotBefore: sampleTime, ExpiresAt: sampleTime.Add(time.Hour),
		All: true, Filter: sampleFilter(), Sealed: []byte{0xff, 0x00, 0xfe}, SealedTo: "k-1",
	}
}

func sampleJobStatus() JobStatus {
	return JobStatus{
		Target: sampleTarget, Submission: "onboarding", Parts: 3, Command: ValidateBatch,
		State: JobRunning, Reason: "the store cannot be reached", Items: 4, Succeeded: 1, Failed: 2, Expired: 11, NotFound: 12, Malformed: 13, RotationDue: 14, Attempts: 5,
		Submitted: sampleTime, NotBefore: sampleTime.Add(2 * time.Second), ExpiresAt: sampleTime.Add(time.Hour), RetryAt: sampleTime.Add(time.Minute), Updated: sampleTime.Add(time.Second),
		Worker: "worker-1", Cancelling: true, Dead: true, Began: sampleRevision, Reached: Revision{sampleRevision.Stream, sampleRevision.Seq + 1}, Cursor: "org:acme/api-key",
		Results: []JobResult{{sampleTarget, true, "v7", Expired, sampleTime, true, "older than 90 days", ref(withinReply(sampleWriteError()))}, {}},
	}
}

// submittedJob and contentStatus have the fields that came later.
func submittedJob() Job {
	job := sampleJob()
	job.Submitted = sampleTime.Add(-time.Minute)
	return job
}

func contentStatus() JobStatus {
	status := sampleJobStatus()
	status.Content, status.Conflicts = "k-1:c0ffee", 6
	return status
}

func validStoreItem() StoreItem {
	item := sampleStoreItem()
	item.UpdateOnly, item.Version = false, ""
	return item
}

// validJob is what a job has beside its items, or beside what is sealed.
func validJob() Job {
	return Job{
		ID: "onboarding-0", Submission: "onboarding", Parts: 3,
		NotBefore: sampleTime, ExpiresAt: sampleTime.Add(time.Hour), Submitted: sampleTime.Add(-time.Minute),
	}
}

func validBatch[T any, P Item[T]](items ...T) BatchRequest[T, P] {
	return BatchRequest[T, P]{Scope: "org:acme", Items: items, Concurrency: 10}
}

// unknownOf returns a batch reply whose failed write may have taken effect.
func unknownOf[T any, P Item[T]](reply *BatchReply[T, P]) *BatchReply[T, P] {
	reply.Results[1].Err.OutcomeUnknown = true
	return reply
}

func batchOf[T any, P Item[T]](items ...T) BatchRequest[T, P] {
	return BatchRequest[T, P]{Envelope: sampleEnvelope, Scope: "org:acme", Items: items, Concurrency: 10}
}

// resultsOf returns a batch reply of one success and one error.
func resultsOf[T any, P Item[T]](reply T) *BatchReply[T, P] {
	err := sampleError() // within a reply, whose revision is its own
	err.Revision = Revision{}
	failed := Result[T, P]{Err: err}
	// The target of an error is also beside the error.
	target := reflect.ValueOf(&failed.Reply).Elem()
	target.FieldByName("Scope").SetString(string(err.Scope))
	target.FieldByName("ID").SetString(string(err.ID))
	return &BatchReply[T, P]{
		Results:  []Result[T, P]{{Reply: reply}, failed},
		Cursor:   "org:acme/api-key",
		Revision: sampleRevision,
	}
}

// samples returns all messages of the contract. Each call creates new ones, since decoding and
// wiping change what messages refer to.
func samples() []sample {
	validation := ValidateReply{
		Target: sampleTarget, Status: Expired, Version: "v7", Expires: sampleTime, Checked: sampleTime.Add(time.Minute),
		RotationDue: true, Reason: "older than 90 days",
	}
	validated := validation
	validated.Revision = sampleRevision
	batch := batchOf[Target](sampleTarget, Target{})
	patched := samplePatchReply()
	patched.Revision = sampleRevision
	return []sample{
		{"store_request", &StoreRequest{sampleEnvelope, sampleStoreItem()}, func() Message { return new(StoreRequest) }},
		{"retrieve_request", &RetrieveRequest{sampleEnvelope, RetrieveItem{sampleTarget, true, true}}, func() Message { return new(RetrieveRequest) }},
		{"delete_request", &DeleteRequest{sampleEnvelope, DeleteItem{sampleTarget, "v7"}}, func() Message { return new(DeleteRequest) }},
		{"list_request", &ListRequest{sampleEnvelope, "org:acme", sampleFilter(), samplePaging}, func() Message { return new(ListRequest) }},
		{"validate_request", &ValidateRequest{sampleEnvelope, sampleTarget}, func() Message { return new(ValidateRequest) }},
		{"store_batch_request", ref(batchOf[StoreItem](sampleStoreItem(), StoreItem{})), func() Message { return new(StoreBatchRequest) }},
		{"retrieve_batch_request", ref(batchOf[RetrieveItem](RetrieveItem{sampleTarget, true, true}, RetrieveItem{})), func() Message { return new(RetrieveBatchRequest) }},
		{"delete_batch_request", ref(batchOf[DeleteItem](DeleteItem{sampleTarget, "v7"}, DeleteItem{})), func() Message { return new(DeleteBatchRequest) }},
		{"validate_batch_request", &ValidateBatchRequest{true, samplePaging, batch}, func() Message { return new(ValidateBatchRequest) }},
		{"clear_cache_request", &ClearCacheRequest{sampleEnvelope, sampleTarget}, func() Message { return new(ClearCacheRequest) }},
		{"cache_stats_request", &CacheStatsRequest{sampleEnvelope, ""}, func() Message { return new(CacheStatsRequest) }},

		{"store_reply", &StoreReply{sampleTarget, "v8", sampleRevision}, func() Message { return new(StoreReply) }},
		{"retrieve_reply", &RetrieveReply{sampleCredential(), sampleRevision}, func() Message { return new(RetrieveReply) }},
		{"delete_reply", &DeleteReply{sampleTarget, sampleRevision}, func() Message { return new(DeleteReply) }},
		{"list_reply", &ListReply{[]Credential{sampleCredential(), {}}, "org:acme/api-key", sampleRevision}, func() Message { return new(ListReply) }},
		{"validate_reply", &validated, func() Message { return new(ValidateReply) }},
		{"store_batch_reply", resultsOf[StoreReply](StoreReply{Target: sampleTarget, Version: "v8"}), func() Message { return new(StoreBatchReply) }},
		{"retrieve_batch_reply", resultsOf[RetrieveReply](RetrieveReply{Credential: sampleCredential()}), func() Message { return new(RetrieveBatchReply) }},
		{"delete_batch_reply", resultsOf[DeleteReply](DeleteReply{Target: sampleTarget}), func() Message { return new(DeleteBatchReply) }},
		{"validate_batch_reply", resultsOf[ValidateReply](validation), func() Message { return new(ValidateBatchReply) }},
		{"clear_cache_reply", &ClearCacheReply{[]string{"worker-1", "worker-2"}, []string{"worker-3"}, sampleRevision}, func() Message { return new(ClearCacheReply) }},
		{"admin_cache_stats_reply_without_host", &AdminCacheStatsReply{[]ReplicaStats{{"worker-1", "", 3, 1, 5, 6, 7, 8, 2, 1000, 1 << 40, 1 << 41, "trusted", nil}, {}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(AdminCacheStatsReply) }},

		{"event", &Event{EventStored, sampleTarget, "v8", sampleTime, "write-1", "worker-1", true, 0, sampleRevision, time.Time{}, "", 0, 0}, func() Message { return new(Event) }},
		{"error", sampleError(), func() Message { return new(Error) }},

		{"limited_error", sampleLimitedError(), func() Message { return new(Error) }},
		// The errors above are those of reads, whose outcome is never unknown.
		{"write_error", sampleWriteError(), func() Message { return new(Error) }},
		{"store_batch_reply_unknown", unknownOf(resultsOf[StoreReply](StoreReply{Target: sampleTarget, Version: "v8"})), func() Message { return new(StoreBatchReply) }},
		{"delete_batch_reply_unknown", unknownOf(resultsOf[DeleteReply](DeleteReply{Target: sampleTarget})), func() Message { return new(DeleteBatchReply) }},

		{"keys_request", &KeysRequest{sampleEnvelope}, func() Message { return new(KeysRequest) }},
		{"keys_reply", &KeysReply{[]ReplicaKeys{{"worker-1", []Key{{1<<32 - 1, "enabled", true}, {}}, sampleTime}, {}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(KeysReply) }},
		{"reseal_request", &ResealRequest{sampleEnvelope, "org:acme", samplePaging}, func() Message { return new(ResealRequest) }},
		{"reseal_reply", &ResealReply{1<<32 - 1, 90, 5, 3, 1, []Error{withinReply(sampleWriteError()), {}}, "org:acme/api-key", sampleRevision}, func() Message { return new(ResealReply) }},
		{"migrate_request", &MigrateRequest{sampleEnvelope, "org:acme", "default", "vault-eu", true, samplePaging}, func() Message { return new(MigrateRequest) }},
		{"migrate_reply", &MigrateReply{90, 5, 3, 2, 4, 1, []Error{withinReply(sampleWriteError()), {}}, "org:acme/api-key", sampleRevision}, func() Message { return new(MigrateReply) }},
		{"retrieve_request_timeout", &RetrieveRequest{timedEnvelope, RetrieveItem{sampleTarget, true, true}}, func() Message { return new(RetrieveRequest) }},
		{"deployment_request", &DeploymentRequest{sampleEnvelope}, func() Message { return new(DeploymentRequest) }},
		{"deployment_reply", &DeploymentReply{[]ReplicaFacts{{"worker-1", []Fact{{"cache.ttl", "5m"}, {}}}, {}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(DeploymentReply) }},
		{"cache_stats_request_scope", &CacheStatsRequest{sampleEnvelope, "org:acme"}, func() Message { return new(CacheStatsRequest) }},
		{"cache_stats_reply", &CacheStatsReply{[]ScopeStats{{"worker-1", true, 6, 2, 1 << 40}, {}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(CacheStatsReply) }},
		{"admin_cache_stats_request", &AdminCacheStatsRequest{sampleEnvelope}, func() Message { return new(AdminCacheStatsRequest) }},
		{"admin_cache_stats_reply", &AdminCacheStatsReply{[]ReplicaStats{{"worker-1", "web-3, process 12", 3, 1, 5, 6, 7, 8, 2, 1000, 1 << 40, 1 << 41, "trusted", []StoreState{
			{"vault-eu", "vault", StoreFailing, sampleTime, StorageTimeout, ""}, {"default", "file", StoreOK, sampleTime, "", ""}, {}}}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(AdminCacheStatsReply) }},

		{"job", ref(sampleJob()), func() Message { return new(Job) }},
		{"job_of_deletes", &JobOf[DeleteItem, *DeleteItem]{sampleJob(), batchOf[DeleteItem](DeleteItem{sampleTarget, "v7"}, DeleteItem{})}, func() Message { return new(JobOf[DeleteItem, *DeleteItem]) }},
		{"job_status", ref(sampleJobStatus()), func() Message { return new(JobStatus) }},
		{"dead_job", &DeadJob{sampleJobStatus(), []byte{0xff, 0x00, 0xfe}}, func() Message { return new(DeadJob) }},
		{"job_show_request", &JobRequest{sampleEnvelope, sampleTarget}, func() Message { return new(JobRequest) }},
		{"job_show_reply", &JobReply{sampleJobStatus(), sampleRevision}, func() Message { return new(JobReply) }},
		{"job_list_request", &JobListRequest{sampleEnvelope, "org:acme", JobFailed, "onboarding", true, samplePaging}, func() Message { return new(JobListRequest) }},
		{"job_list_reply", &JobListReply{[]JobStatus{sampleJobStatus(), {}}, "17", sampleRevision}, func() Message { return new(JobListReply) }},
		{"job_cancel_request", &JobRequest{sampleEnvelope, sampleTarget}, func() Message { return new(JobRequest) }},
		{"job_cancel_reply", &JobReply{sampleJobStatus(), sampleRevision}, func() Message { return new(JobReply) }},
		{"job_retry_request", &JobRequest{sampleEnvelope, sampleTarget}, func() Message { return new(JobRequest) }},
		{"job_retry_reply", &JobReply{sampleJobStatus(), sampleRevision}, func() Message { return new(JobReply) }},
		{"job_drop_request", &JobRequest{sampleEnvelope, sampleTarget}, func() Message { return new(JobRequest) }},
		{"job_drop_reply", &JobReply{sampleJobStatus(), sampleRevision}, func() Message { return new(JobReply) }},
		{"seal_key_request", &SealKeyRequest{Envelope: sampleEnvelope}, func() Message { return new(SealKeyRequest) }},
		{"seal_key_reply", &SealKeyReply{KeyID: "k-1", Key: []byte{0xff, 0x00, 0xfe}, Revision: sampleRevision}, func() Message { return new(SealKeyReply) }},
		{"event_expiring", &Event{EventExpiring, sampleTarget, "v8", sampleTime, "write-1", "worker-1", true, 0, sampleRevision, sampleTime.Add(time.Hour), "", 0, 0}, func() Message { return new(Event) }},
		{"event_hold", &Event{EventStored, sampleTarget, "v8", sampleTime, "write-1", "worker-1", true, 16 * time.Second, sampleRevision, sampleTime.Add(time.Hour), "", 0, 0}, func() Message { return new(Event) }},
		{"store_status", &StoreStatus{StoreState{"vault-eu", "vault", StoreFailing, sampleTime, StorageTimeout, ""}, "worker-1"}, func() Message { return new(StoreStatus) }},
		{"job_submitted", ref(submittedJob()), func() Message { return new(Job) }},
		{"job_status_content", ref(contentStatus()), func() Message { return new(JobStatus) }},
		{"job_show_request_posted", &JobShowRequest{JobRequest{sampleEnvelope, sampleTarget}, StoreBatch, []byte{0xff, 0x00, 0xfe}}, func() Message { return new(JobShowRequest) }},
		{"seal_key_reply_now", &SealKeyReply{KeyID: "k-1", Key: []byte{0xff, 0x00, 0xfe}, Now: sampleTime, MaxDelay: 7 * 24 * time.Hour, Revision: sampleRevision}, func() Message { return new(SealKeyReply) }},
		{"admin_cache_stats_reply_refuses", &AdminCacheStatsReply{[]ReplicaStats{{"worker-1", "web-3, process 12", 3, 1, 5, 6, 7, 8, 2, 1000, 1 << 40, 1 << 41, "trusted", []StoreState{
			{"vault-eu", "vault", StoreFailing, sampleTime, StorageTimeout, RefusesWrites}}}}, []string{"worker-3"}, sampleRevision}, func() Message { return new(AdminCacheStatsReply) }},
		{"store_status_refuses", &StoreStatus{StoreState{"vault-eu", "vault", StoreFailing, sampleTime, StorageTimeout, RefusesAll}, "worker-1"}, func() Message { return new(StoreStatus) }},
		{"event_index", &Event{EventStored, sampleTarget, "v8", sampleTime, "write-1", "worker-1", true, 16 * time.Second, sampleRevision, sampleTime.Add(time.Hour), "c2VhbGVk", 0, 0}, func() Message { return new(Event) }},
		{"event_lease", &Event{EventStored, sampleTarget, "v8", sampleTime, "write-1", "worker-1", true, 16 * time.Second, sampleRevision, sampleTime.Add(time.Hour), "c2VhbGVk", 2 * time.Second, 1}, func() Message { return new(Event) }},

		{"seal_key_request_session", &SealKeyRequest{sampleEnvelope, "k-1", []byte{0xff, 0x00, 0xfe}}, func() Message { return new(SealKeyRequest) }},
		{"seal_key_reply_session", &SealKeyReply{"k-1", []byte{0xff, 0x00, 0xfe}, sampleTime, 7 * 24 * time.Hour, []byte{1, 2}, []byte{3, 4}, []byte{5, 6}, time.Hour, sampleRevision}, func() Message { return new(SealKeyReply) }},
		{"patch_request", &PatchRequest{sampleEnvelope, samplePatchItem()}, func() Message { return new(PatchRequest) }},
		{"patch_request_removal", &PatchRequest{sampleEnvelope, sampleRemoval()}, func() Message { return new(PatchRequest) }},
		{"patch_reply", &patched, func() Message { return new(PatchReply) }},
		{"patch_batch_request", ref(batchOf[PatchItem](samplePatchItem(), sampleRemoval(), PatchItem{})), func() Message { return new(PatchBatchRequest) }},
		{"patch_batch_reply", unknownOf(resultsOf[PatchReply](samplePatchReply())), func() Message { return new(PatchBatchReply) }},
		{"job_of_patches", &JobOf[PatchItem, *PatchItem]{submittedJob(), batchOf[PatchItem](samplePatchItem(), sampleRemoval())}, func() Message { return new(JobOf[PatchItem, *PatchItem]) }},

		{"describe_request", &DescribeRequest{sampleEnvelope, sampleTarget}, func() Message { return new(DescribeRequest) }},
		{"describe_reply", &DescribeReply{sampleCredential(), sampleRevision}, func() Message { return new(DescribeReply) }},

		{"audit_request", &AuditRequest{sampleEnvelope, sampleTime, samplePaging}, func() Message { return new(AuditRequest) }},
		{"audit_reply", &AuditReply{[]AuditBlock{{17, "worker-1", []byte("{}\n\xff")}, {}}, "18-19", sampleRevision}, func() Message { return new(AuditReply) }},

		// What a worker accepts, unlike the requests above, which have all fields at once.
		{"store_request_valid", &StoreRequest{Envelope{RequestID: "req-1", Timeout: 5 * time.Second, Revision: sampleRevision}, validStoreItem()}, func() Message { return new(StoreRequest) }},
		{"job_of_stores_valid", &StoreJob{validJob(), validBatch[StoreItem](validStoreItem())}, func() Message { return new(StoreJob) }},
		{"job_of_patches_valid", &PatchJob{validJob(), validBatch[PatchItem](sampleRemoval())}, func() Message { return new(PatchJob) }},
		{"job_of_retrieves_valid", &RetrieveJob{validJob(), validBatch[RetrieveItem](RetrieveItem{sampleTarget, true, true})}, func() Message { return new(RetrieveJob) }},
		{"job_of_deletes_valid", &DeleteJob{validJob(), validBatch[DeleteItem](DeleteItem{sampleTarget, "v7"})}, func() Message { return new(DeleteJob) }},
		{"job_of_validations_valid", &ValidateJob{validJob(), validBatch[Target](sampleTarget)}, func() Message { return new(ValidateJob) }},
		{"job_show_reply_content", &JobReply{contentStatus(), sampleRevision}, func() Message { return new(JobReply) }},
	}
}

// withinReply returns an error without a revision: the reply has it.
func withinReply(err *Error) Error {
	within := *err
	within.Revision = Revision{}
	return within
}

func ref[T any](v T) *T { return &v }

// encoded returns the body of m as it is sent: a reply gets its revision last.
func encoded(m Message) []byte {
	field := reflect.ValueOf(m).Elem().FieldByName("Revision")
	_, isRequest := m.(Request)
	_, isEvent := m.(*Event)
	if isRequest || isEvent || !field.IsValid() {
		return Append(nil, m)
	}
	return AppendRevision(AppendOpen(nil, m), field.Interface().(Revision))
}

// TestSamplesAreComplete keeps the other tests honest: a new field or command of the contract
// must be added to the samples.
func TestSamplesAreComplete(t *testing.T) {
	names := make(map[string]bool)
	for _, sample := range samples() {
		names[sample.name] = true
		switch sample.name {
		case "error", "cache_stats_request", "admin_cache_stats_reply", "admin_cache_stats_reply_without_host", "store_status", "event", "event_expiring", "event_hold", "event_index":
			// write_error, cache_stats_request_scope, admin_cache_stats_reply_refuses, store_status_refuses and event_lease have all of it
		case "job", "job_of_deletes", "job_status", "dead_job", "job_show_reply", "job_list_reply", "job_cancel_reply", "job_retry_reply", "job_drop_reply", "seal_key_request", "seal_key_reply", "seal_key_reply_now":
			// job_submitted, job_status_content, seal_key_request_session and seal_key_reply_session have all of it
		case "store_request_valid", "job_of_stores_valid", "job_of_patches_valid", "job_of_retrieves_valid", "job_of_deletes_valid", "job_of_validations_valid":
			// the others have all of it
		case "patch_request_removal": // patch_request has what it does not remove
		default:
			requireSet(t, sample.name, reflect.ValueOf(sample.full).Elem())
		}
		if reflect.TypeOf(sample.zero()) != reflect.TypeOf(sample.full) {
			t.Errorf("%s: full and zero differ in type", sample.name)
		}
	}
	for _, command := range slices.Concat(Commands, AdminCommands) {
		name := strings.TrimPrefix(string(command), "admin.")
		if !names[name+"_request"] || !names[name+"_reply"] {
			t.Errorf("command %s has no sample", command)
		}
	}
}

func requireSet(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is not set", path)
		return
	}
	switch v.Type() {
	case reflect.TypeFor[time.Time](), reflect.TypeFor[Secret]():
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch {
			case name == "Refused": // says what Decode found
			case name == "Err": // instead of Reply
			case name == "RemoveAllTags": // patch_request_removal has it
			case name == "RetryAfter": // limited_error has it
			case name == "Timeout" && v.Type() == reflect.TypeFor[Envelope](): // retrieve_request_timeout has it
			case name == "Revision" && reflect.TypeFor[Revision]() == v.Field(i).Type() && inBatch(path): // the batch reply has it
			case v.Type() == reflect.TypeFor[Revision]():
			default:
				requireSet(t, path+"."+name, v.Field(i))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			requireSet(t, path+"[0]", v.Index(0))
		}
	}
}

func inBatch(path string) bool {
	return strings.HasSuffix(path, ".Reply") || strings.HasSuffix(path, ".Failed[0]")
}
