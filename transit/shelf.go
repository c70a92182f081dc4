package transit

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"leasehold/internal/secret"
	"leasehold/store"
)

// shelf is the keys of one mount, in one transaction.
type shelf struct {
	*store.Tx
	mount  string
	cache  *cache // nil in transactions that write
	engine *Engine
}

const (
	selectStamp   = `SELECT stamp FROM transit_keys WHERE id = $1`
	selectKey     = `SELECT stamp, settings FROM transit_keys WHERE id = $1`
	selectNames   = `SELECT id, name FROM transit_keys WHERE mount = $1`
	insertKey     = `INSERT INTO transit_keys (id, mount, stamp, due_at, name, settings) VALUES ($1, $2, $3, $4, $5, $6)`
	updateKey     = `UPDATE transit_keys SET stamp = $2, due_at = $3, settings = $4 WHERE id = $1`
	deleteKey     = `DELETE FROM transit_keys WHERE id = $1`
	selectVersion = `SELECT material FROM transit_versions WHERE owner = $1 AND number = $2`
	selectRange   = `SELECT number, material FROM transit_versions WHERE owner = $1 AND number >= $2 AND number <= $3 ORDER BY number`
	insertVersion = `INSERT INTO transit_versions (id, owner, number, material) VALUES ($1, $2, $3, $4)`
	deleteBelow   = `DELETE FROM transit_versions WHERE owner = $1 AND number < $2`
)

func nameCell(id string) store.Cell {
	return store.Cell{Table: "transit_keys", Column: "name", Key: id}
}

func settingsCell(id string) store.Cell {
	return store.Cell{Table: "transit_keys", Column: "settings", Key: id}
}

func versionID(owner string, number int) string { return owner + "/" + strconv.Itoa(number) }

func materialCell(owner string, number int) store.Cell {
	return store.Cell{Table: "transit_versions", Column: "material", Key: versionID(owner, number)}
}

// newStamp makes the mark of a changed key.
func newStamp() string { return secret.Random(secret.Base62, 22).Reveal() }

// id is the blind key of a name in this mount.
func (s shelf) id(name string) (string, error) {
	return s.Index("transit_keys", []byte(s.mount+"\x00"+name))
}

// find reads a key; nil: there is none of that name.
func (s shelf) find(name string) (*key, error) {
	id, err := s.id(name)
	if err != nil {
		return nil, err
	}
	var stamp string
	if s.cache != nil {
		switch err := s.QueryRow(selectStamp, id).Scan(&stamp); {
		case errors.Is(err, store.ErrNoRow):
			return nil, nil
		case err != nil:
			return nil, err
		}
		if k := s.cache.key(id, stamp); k != nil {
			return k, nil
		}
	}
	k, err := s.read(id, name)
	if k == nil || err != nil || s.cache == nil {
		return k, err
	}
	size, err := s.cacheSize()
	if err != nil {
		return nil, err
	}
	s.cache.put(k, size)
	return k, nil
}

// read reads a key by its row; nil: it is not there.
func (s shelf) read(id, name string) (*key, error) {
	k := &key{id: id, name: name}
	var sealed []byte
	switch err := s.QueryRow(selectKey, id).Scan(&k.stamp, &sealed); {
	case errors.Is(err, store.ErrNoRow):
		return nil, nil
	case err != nil:
		return nil, err
	}
	stored, err := s.Open(settingsCell(id), sealed)
	if err == nil {
		err = decodeSettings(stored, &k.settings)
	}
	if err == nil && k.algorithm() == nil {
		err = fmt.Errorf("the store holds a key of type %q, which this program does not know", k.Type)
	}
	return k, err
}

// version reads one version of a key. found is false when the key has none of that number.
func (s shelf) version(k *key, number int) (v *version, found bool, err error) {
	if s.cache != nil {
		if v := s.cache.version(k, number); v != nil {
			return v, true, nil
		}
	}
	var sealed []byte
	switch err := s.QueryRow(selectVersion, k.id, number).Scan(&sealed); {
	case errors.Is(err, store.ErrNoRow):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	}
	if v, err = s.open(k, number, sealed); err != nil {
		return nil, false, err
	}
	if s.cache != nil {
		s.cache.putVersion(k, v)
	}
	return v, true, nil
}

func (s shelf) open(k *key, number int, sealed []byte) (*version, error) {
	m, err := s.unseal(k, number, sealed)
	if err != nil {
		return nil, err
	}
	return k.open(number, m)
}

func (s shelf) unseal(k *key, number int, sealed []byte) (material, error) {
	encoded, err := s.Open(materialCell(k.id, number), sealed)
	if err != nil {
		return material{}, err
	}
	return decodeMaterial(encoded)
}

// numbered is the material of a version, and which one that is.
type numbered struct {
	number int
	material
}

// materials reads those of a key's versions from one number to another, both included, by number.
func (s shelf) materials(k *key, from, to int) ([]numbered, error) {
	type row struct {
		number int
		sealed []byte
	}
	var found []row
	rows, err := s.Query(selectRange, k.id, from, to)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.number, &r.sealed); err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	all := make([]numbered, 0, len(found))
	for _, r := range found {
		m, err := s.unseal(k, r.number, r.sealed)
		if err != nil {
			return nil, err
		}
		all = append(all, numbered{r.number, m})
	}
	return all, nil
}

// names are the sorted names of the mount's keys.
func (s shelf) names() ([]string, error) {
	type sealedName struct {
		id   string
		name []byte
	}
	var found []sealedName
	rows, err := s.Query(selectNames, s.mount)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var n sealedName
		if err := rows.Scan(&n.id, &n.name); err != nil {
			return nil, err
		}
		found = append(found, n)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(found))
	for _, n := range found {
		name, err := s.Open(nameCell(n.id), n.name)
		if err != nil {
			return nil, fmt.Errorf("open a name: %w", err)
		}
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names, nil
}

// insert stores a new key with its first version. The caller has looked that there is none of its name.
func (s shelf) insert(k *key, first material) error {
	var err error
	if k.id, err = s.id(k.name); err != nil {
		return err
	}
	first.created = s.Now()
	k.stamp, k.Latest, k.LatestAt, k.MinDecryption = newStamp(), 1, store.Micros(first.created), 1
	if err := s.insertKey(k); err != nil {
		return err
	}
	return s.putMaterial(k, 1, first)
}

func (s shelf) insertKey(k *key) error {
	sealedName, err := s.Seal(nameCell(k.id), []byte(k.name))
	if err != nil {
		return err
	}
	sealed, err := s.sealSettings(k)
	if err != nil {
		return err
	}
	due, err := s.dueAt(k)
	if err != nil {
		return err
	}
	_, err = s.Exec(insertKey, k.id, s.mount, k.stamp, due, sealedName, sealed)
	return err
}

// update stores the changed settings of a key. Every change of its versions goes with one: the stamp tells other nodes.
func (s shelf) update(k *key) error {
	k.stamp = newStamp()
	sealed, err := s.sealSettings(k)
	if err != nil {
		return err
	}
	due, err := s.dueAt(k)
	if err != nil {
		return err
	}
	_, err = s.Exec(updateKey, k.id, k.stamp, due, sealed)
	return err
}

func (s shelf) sealSettings(k *key) ([]byte, error) {
	encoded, err := encodeSettings(k.settings)
	if err != nil {
		return nil, err
	}
	return s.Seal(settingsCell(k.id), encoded)
}

// add makes m the newest version of a stored key, and stores both. The key comes first: two that add at once meet at its
// row, where the database has one of them begin again.
func (s shelf) add(k *key, m material) error {
	m.created = s.Now()
	k.Latest++
	k.LatestAt = store.Micros(m.created)
	if err := s.update(k); err != nil {
		return err
	}
	return s.putMaterial(k, k.Latest, m)
}

// putMaterial stores a version that is not there yet.
func (s shelf) putMaterial(k *key, number int, m material) error {
	encoded, err := m.encode()
	if err != nil {
		return err
	}
	sealed, err := s.Seal(materialCell(k.id, number), encoded)
	if err != nil {
		return err
	}
	_, err = s.Exec(insertVersion, versionID(k.id, number), k.id, number, sealed)
	return err
}
