// Package file keeps every credential in a file of its own, below one directory
// that only its owner may enter. It needs no server. Several processes of one
// host may share the directory.
//
//	dir/                                      mode 0700, refused if looser
//	  locks/00 … ff                           one lock for each stripe of keys
//	  records/org=acme/team=eng/@api-key.cred one credential, mode 0600
//
// A write takes the lock of its key's stripe, writes a temporary file beside
// the old one, syncs it, renames it into place and syncs the directory:
//
//	lock ─► read current ─► precondition ─► .tmp ─► fsync ─► rename ─► fsync dir ─► unlock
//
// So a crash at any instant leaves the old record or the new one, whole. Reads
// take no lock. What a crash leaves behind is a temporary file, which readers
// ignore and the next [New] removes.
//
// Each file holds its own key, metadata, sealed payload and a checksum over all
// of them. A file that is damaged, or was moved from another place, is reported
// by its path and harms no other. The store ignores files with other names. A
// symbolic link in the place of a record counts as damaged: it leads out of the
// directory, where nothing is read, or to a record of another key. Modes and
// owners are checked only for the directory itself, which keeps everyone else
// out.
//
// [Store.Watch] reports changes to the files, by this process, by others and by
// hand. It misses one case: a record that comes and goes between the creation
// of its scope's directory and the watch on that.
//
// The file system must be local: locks and syncs are only as good as those of
// the system below. Directories of scopes stay when their last credential goes,
// since removing one races with a write into it. To remove them, run find
// dir/records -type d -empty -delete while no worker runs.
package file
