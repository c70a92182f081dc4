package kvcompat

import (
	"errors"
	"strconv"
	"time"

	"leasehold/store"
)

// defaultVersions is how many versions a key keeps when neither it nor its mount says.
const defaultVersions = 10

// key is what version 2 keeps about a path beside its versions; sealed in the value of its entry.
type key struct {
	Current             int64             `json:"current"` // the newest version; 0: none was written
	Oldest              int64             `json:"oldest"`  // the oldest version that is kept; 0: nothing was pruned
	CreatedAt           int64             `json:"created_at"`
	UpdatedAt           int64             `json:"updated_at"`   // when the newest version was written
	MaxVersions         int               `json:"max_versions"` // 0: the mount's
	CASRequired         bool              `json:"cas_required"`
	DeleteAfter         time.Duration     `json:"delete_version_after"` // 0: the mount's
	Custom              map[string]string `json:"custom_metadata"`
	MetadataVersion     int64             `json:"metadata_version"` // counts the writes of metadata
	MetadataCASRequired bool              `json:"metadata_cas_required"`

	id   string // of its entry
	path string
}

// version is one version of a key, without its data.
type version struct {
	number    int64
	created   time.Time
	ended     time.Time // deleted from then on; zero: not
	destroyed bool
}

const (
	insertVersion = `INSERT INTO kv_versions (id, entry, number, created_at, ended_at, destroyed, data)
		VALUES ($1, $2, $3, $4, $5, 0, $6)`
	selectVersion  = `SELECT created_at, ended_at, destroyed, data FROM kv_versions WHERE entry = $1 AND number = $2`
	selectVersions = `SELECT number, created_at, ended_at, destroyed FROM kv_versions WHERE entry = $1 ORDER BY number`
	pruneVersions  = `DELETE FROM kv_versions WHERE entry = $1 AND number <= $2`
)

// errPlain tells a View that it met a value of version 1, which takes an Update to become a key.
var errPlain = errors.New("the value is of version 1")

func versionID(entry string, number int64) string {
	return entry + "/" + strconv.FormatInt(number, 10)
}

func dataCell(entry string, number int64) store.Cell {
	return store.Cell{Table: "kv_versions", Column: "data", Key: versionID(entry, number)}
}

// key reads the key at a path; nil: there is none. A value of version 1 becomes the key's first version.
//
// Errors: errPlain.
func (t tree) key(path string) (*key, error) {
	if !isLeaf(path) {
		return nil, nil
	}
	id, err := t.id(path)
	if err != nil {
		return nil, err
	}
	f, value, err := t.getAt(id)
	if f == absent || err != nil {
		return nil, err
	}
	k := &key{id: id, path: path}
	if f == versioned {
		return k, decode(value, k)
	}
	if !t.writes {
		return nil, errPlain
	}
	k.CreatedAt = store.Micros(t.Now())
	_, err = t.add(k, settings{}, value)
	return k, err
}

// newKey is a key that is not stored yet.
func (t tree) newKey(path string) (*key, error) {
	id, err := t.id(path)
	now := store.Micros(t.Now())
	return &key{id: id, path: path, CreatedAt: now, UpdatedAt: now}, err
}

func (t tree) putKey(k *key) error {
	encoded, err := encode(k)
	if err != nil {
		return err
	}
	return t.put(k.path, versioned, encoded)
}

// add writes a new version of a key, and prunes those that are too old then.
func (t tree) add(k *key, s settings, data []byte) (version, error) {
	k.Current++
	k.UpdatedAt = store.Micros(t.Now())
	window := int64(max(k.MaxVersions, s.MaxVersions))
	if window == 0 {
		window = defaultVersions
	}
	surplus := k.Current - window // the newest of those that go
	prune := surplus > 0 && surplus >= k.Oldest
	if prune {
		k.Oldest = surplus + 1
	}
	if err := t.putKey(k); err != nil { // before its versions: they refer to it
		return version{}, err
	}
	v := version{number: k.Current, created: t.Now(), ended: k.expiry(s, t.Now())}
	sealed, err := t.Seal(dataCell(k.id, v.number), data)
	if err != nil {
		return version{}, err
	}
	_, err = t.Exec(insertVersion, versionID(k.id, v.number), k.id, v.number, store.Micros(v.created), store.Micros(v.ended), sealed)
	if err == nil && prune {
		_, err = t.Exec(pruneVersions, k.id, surplus)
	}
	return v, err
}

// expiry is when a version that begins now is deleted by itself; zero: never.
func (k *key) expiry(s settings, now time.Time) time.Time {
	after := s.DeleteAfter
	if after == 0 || (k.DeleteAfter > 0 && k.DeleteAfter < after) {
		after = k.DeleteAfter
	}
	if after <= 0 {
		return time.Time{}
	}
	return now.Add(after)
}

// version reads a version with its data: nil for one that is deleted or destroyed. found is false when there is none.
func (t tree) version(k *key, number int64) (v version, data []byte, found bool, err error) {
	var created, ended int64
	var sealed []byte
	switch err := t.QueryRow(selectVersion, k.id, number).Scan(&created, &ended, &v.destroyed, &sealed); {
	case errors.Is(err, store.ErrNoRow):
		return v, nil, false, nil
	case err != nil:
		return v, nil, false, err
	}
	v.number, v.created, v.ended = number, store.Time(created), store.Time(ended)
	if v.destroyed || v.deleted(t.Now()) {
		return v, nil, true, nil
	}
	data, err = t.Open(dataCell(k.id, number), sealed)
	return v, data, true, err
}

func (v version) deleted(now time.Time) bool { return !v.ended.IsZero() && !v.ended.After(now) }

// versions reads all versions of a key that are kept.
func (t tree) versions(k *key) ([]version, error) {
	rows, err := t.Query(selectVersions, k.id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []version
	for rows.Next() {
		var v version
		var created, ended int64
		if err := rows.Scan(&v.number, &created, &ended, &v.destroyed); err != nil {
			return nil, err
		}
		v.created, v.ended = store.Time(created), store.Time(ended)
		all = append(all, v)
	}
	return all, rows.Err()
}

// stamp is a time as answers show it.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// custom is the custom metadata as answers show it: null when there is none.
func (k *key) custom() any {
	if len(k.Custom) == 0 {
		return nil
	}
	return k.Custom
}

// shown is a version as the answers of writes and reads show it.
func (v version) shown(k *key) map[string]any {
	return map[string]any{
		"version": v.number, "created_time": stamp(v.created), "deletion_time": stamp(v.ended), "destroyed": v.destroyed,
		"custom_metadata": k.custom(),
	}
}
