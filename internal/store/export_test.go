package store

import "runtime"

// Waiting tells how many transactions wait to share a commit.
func (db *DB) Waiting() int {
	runtime.Gosched()
	db.group.mu.Lock()
	defer db.group.mu.Unlock()
	return len(db.group.waiting)
}
