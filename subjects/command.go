package subjects

// Command is the token of a subject that names the command.
type Command string

// The commands of the contract. The comment of each names its request and its reply, from
// which documentation is generated.
const (
	Store         Command = "store"          // StoreRequest, StoreReply: create or replace a credential
	Patch         Command = "patch"          // PatchRequest, PatchReply: change a credential, and keep the rest
	Retrieve      Command = "retrieve"       // RetrieveRequest, RetrieveReply: read a credential
	Delete        Command = "delete"         // DeleteRequest, DeleteReply: delete a credential
	List          Command = "list"           // ListRequest, ListReply: IDs and metadata of a scope and below, without values
	Describe      Command = "describe"       // DescribeRequest, DescribeReply: the metadata of a credential, without values
	Validate      Command = "validate"       // ValidateRequest, ValidateReply: check whether a credential can be read and has not expired
	StoreBatch    Command = "store_batch"    // StoreBatchRequest, StoreBatchReply: several stores
	PatchBatch    Command = "patch_batch"    // PatchBatchRequest, PatchBatchReply: several patches
	RetrieveBatch Command = "retrieve_batch" // RetrieveBatchRequest, RetrieveBatchReply: several credentials
	DeleteBatch   Command = "delete_batch"   // DeleteBatchRequest, DeleteBatchReply: several deletes
	ValidateBatch Command = "validate_batch" // ValidateBatchRequest, ValidateBatchReply: several credentials, or a whole scope
	ClearCache    Command = "clear_cache"    // ClearCacheRequest, ClearCacheReply: drop what the workers have cached of a scope or credential
	CacheStats    Command = "cache_stats"    // CacheStatsRequest, CacheStatsReply: what the workers have cached of a scope
	JobShow       Command = "job_show"       // JobShowRequest, JobReply: the status of a job
	JobList       Command = "job_list"       // JobListRequest, JobListReply: jobs of a scope and below
	JobCancel     Command = "job_cancel"     // JobRequest, JobReply: end a job before its next item
	JobRetry      Command = "job_retry"      // JobRequest, JobReply: put a dead letter back into the queue
	JobDrop       Command = "job_drop"       // JobRequest, JobReply: forget a dead letter
	SealKey       Command = "seal_key"       // SealKeyRequest, SealKeyReply: the public key that jobs are sealed to, or a session for sealed requests
)

// The commands of operators, who run the workers. Their subjects begin with the prefix and
// "admin": no tenant may publish there.
const (
	Keys            Command = "admin.keys"        // KeysRequest, KeysReply: which keys each replica has
	Reseal          Command = "admin.reseal"      // ResealRequest, ResealReply: seal a page of credentials by the primary key
	AdminCacheStats Command = "admin.cache_stats" // AdminCacheStatsRequest, AdminCacheStatsReply: counters, trust and stores of each replica
	Migrate         Command = "admin.migrate"     // MigrateRequest, MigrateReply: copy a page of credentials to another store
	Deployment      Command = "admin.deployment"  // DeploymentRequest, DeploymentReply: what each replica says of itself
	Audit           Command = "admin.audit"       // AuditRequest, AuditReply: a page of the audit log in a stream
)

// Commands are all commands, in the order in which documentation shows them.
var Commands = []Command{
	Store, Patch, Retrieve, Delete, List, Describe, Validate,
	StoreBatch, PatchBatch, RetrieveBatch, DeleteBatch, ValidateBatch,
	ClearCache, CacheStats,
	JobShow, JobList, JobCancel, JobRetry, JobDrop, SealKey,
}

// AdminCommands are the commands of operators. They are not in Commands, because that list
// determines what tenants may do.
var AdminCommands = []Command{Keys, Reseal, Migrate, Deployment, AdminCacheStats, Audit}

// JobCommands are the commands that a job may carry out.
var JobCommands = []Command{StoreBatch, PatchBatch, RetrieveBatch, DeleteBatch, ValidateBatch}

// Writes reports whether the command changes credentials, so that a repeat needs care.
// Reseal and Migrate change how and where credentials are kept, and may be repeated.
func (c Command) Writes() bool {
	switch c {
	case Store, Patch, Delete, StoreBatch, PatchBatch, DeleteBatch:
		return true
	}
	return false
}

// Changes reports whether the command changes anything that others see. A sealed request for
// one acts once, even if somebody sends a copy of it.
func (c Command) Changes() bool {
	switch c {
	case ClearCache, JobCancel, JobRetry, JobDrop, Reseal, Migrate:
		return true
	}
	return c.Writes()
}

// CarriesValues reports whether requests of the command hold values of credentials. A job of
// such a command must be sealed, since the servers keep jobs on disk.
func (c Command) CarriesValues() bool {
	switch c {
	case Store, Patch, StoreBatch, PatchBatch:
		return true
	}
	return false
}
