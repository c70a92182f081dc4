package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"leasehold/internal/testdb"
	"leasehold/server/proctest"
)

const (
	kvWriters = 8
	kvKeys    = 12 // in use at a time
	kvWindow  = 10 // versions that a key keeps
)

// kvKey is what clients know of one key.
type kvKey struct {
	path    string
	writer  int  // who alone writes its metadata
	private bool // and its versions, and deletes it in the end

	mu        sync.Mutex
	written   map[int]string  // acknowledged values by version; guarded by mu, like all that follows
	sent      map[string]bool // values of writes that had no answer
	destroyed map[int]bool    // by version: asked for; true: acknowledged
	deleted   map[int]bool    // by version: asked for, whatever became of it
	noted     int             // the last number acknowledged in the metadata
	noting    int             // the last number asked for
	removed   bool            // the key's deletion was asked for, and nothing after that
	gone      bool            // the deletion was acknowledged
}

// kvRig is a server with a key/value mount, and what its clients were told.
type kvRig struct {
	t        *testing.T
	srv      *proctest.Server
	answered chan struct{} // receives after an operation under load

	mu      sync.Mutex
	inUse   [kvKeys]*kvKey // guarded by mu, like what follows
	removed []*kvKey       // since the last check
	made    int            // keys, altogether
	acks    int            // writes that were acknowledged
}

func (r *kvRig) newKey(writer int, private bool) *kvKey {
	r.made++
	return &kvKey{
		path: fmt.Sprintf("folder-%d/key-%d", writer, r.made), writer: writer, private: private,
		written: map[int]string{}, sent: map[string]bool{}, destroyed: map[int]bool{}, deleted: map[int]bool{},
	}
}

// TestKillsOfKeyValues kills the server while clients write versions of the same keys, delete, destroy and describe
// them. What was acknowledged is there afterwards, no number was given to two writes, and the metadata of each key names the
// versions that can be read. LEASEHOLD_KV_KILLS sets how often; `make soak` asks for 10,000.
//
// There is no failpoint to stop at: each request is one transaction.
func TestKillsOfKeyValues(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"sqlite", "postgresql"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			seed := uint64(time.Now().UnixNano())
			t.Logf("seed %d", seed)
			dice := rand.New(rand.NewPCG(seed, 0))
			r := &kvRig{t: t, answered: make(chan struct{})}
			if store == "sqlite" {
				r.srv = proctest.New(t, binary, "")
			} else {
				r.srv = proctest.NewOn(t, binary, proctest.PostgreSQL(testdb.Postgres(t, testdb.With("log_statement", "none")).URL()), "")
			}
			if err := errors.Join(r.srv.Start(), r.srv.Init()); err != nil {
				t.Fatal(err)
			}
			mountKV(t, r.srv)
			for i := range kvKeys {
				r.inUse[i] = r.newKey(i%kvWriters, i%3 == 0)
			}
			kills := setting(t, "LEASEHOLD_KV_KILLS", 5)
			for kill := range kills {
				r.loadAndKill(dice)
				if err := r.srv.Restart(); err != nil {
					t.Fatal(err)
				}
				r.check()
				if t.Failed() {
					t.Fatalf("after kill %d", kill+1)
				}
			}
			t.Logf("%d kills, %d acknowledged writes, %d keys", kills, r.acks, r.made)
			if r.acks < 5*kills {
				t.Error("the load does not load")
			}
		})
	}
}

// loadAndKill lets the clients work, and kills the server at a moment of the dice's.
func (r *kvRig) loadAndKill(dice *rand.Rand) {
	stop := make(chan struct{})
	var load sync.WaitGroup
	for writer := range kvWriters {
		dice := rand.New(rand.NewPCG(dice.Uint64(), 0))
		load.Go(func() { r.work(writer, dice, stop) })
	}
	patience := time.After(10 * time.Second)
	for range dice.IntN(60) {
		select {
		case <-r.answered:
			continue
		case <-patience:
		}
		break
	}
	<-time.After(time.Duration(dice.IntN(10)) * time.Millisecond)
	r.srv.Kill()
	close(stop)
	load.Wait()
}

// work changes keys until the server is gone.
func (r *kvRig) work(writer int, dice *rand.Rand, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		r.mu.Lock()
		k := r.inUse[dice.IntN(kvKeys)]
		r.mu.Unlock()
		mine := k.writer == writer
		if k.private && !mine {
			continue
		}
		var err error
		switch n := dice.IntN(20); {
		case n < 12:
			err = r.write(k, strconv.FormatUint(dice.Uint64(), 36), dice)
		case n < 14:
			err = r.end(k, "delete", dice)
		case n < 16:
			err = r.end(k, "destroy", dice)
		case mine && n < 19:
			err = r.note(k)
		case k.private:
			err = r.remove(k)
		default:
			continue
		}
		if err != nil {
			if !isAnswer(err) {
				return // the server died
			}
			r.t.Errorf("%s: %v", k.path, err)
		}
		select {
		case r.answered <- struct{}{}:
		default: // nobody counts any more
		}
	}
}

// write adds a version, by itself or as a patch.
func (r *kvRig) write(k *kvKey, value string, dice *rand.Rand) error {
	k.mu.Lock()
	k.sent[value] = true
	k.mu.Unlock()
	got, err := r.srv.Root(http.MethodPost, "kv/data/"+k.path, map[string]any{
		// Some are longer than a page of the store.
		"data": map[string]any{"value": value, "rest": fmt.Sprintf("%0*d", dice.IntN(6000), 0)},
	})
	if err != nil {
		return err
	}
	version, _ := dig(got, "data", "version").(float64)
	r.mu.Lock()
	r.acks++
	r.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.sent, value)
	if other, taken := k.written[int(version)]; taken {
		r.t.Errorf("%s: version %v was given to %s and to %s", k.path, version, other, value)
	}
	k.written[int(version)] = value
	return nil
}

// end deletes or destroys a version that was acknowledged.
func (r *kvRig) end(k *kvKey, verb string, dice *rand.Rand) error {
	k.mu.Lock()
	if len(k.written) == 0 {
		k.mu.Unlock()
		return nil
	}
	versions := slices.Sorted(maps.Keys(k.written))
	recent := versions[max(0, len(versions)-kvWindow/2):]
	version := recent[dice.IntN(len(recent))]
	if verb == "delete" {
		k.deleted[version] = true
	} else if !k.destroyed[version] {
		k.destroyed[version] = false
	}
	k.mu.Unlock()
	_, err := r.srv.Root(http.MethodPost, "kv/"+verb+"/"+k.path, map[string]any{"versions": []int{version}})
	if err == nil && verb == "destroy" {
		k.mu.Lock()
		k.destroyed[version] = true
		k.mu.Unlock()
	}
	return err
}

// note writes the key's metadata, a number that counts up.
func (r *kvRig) note(k *kvKey) error {
	k.mu.Lock()
	k.noting++
	n := k.noting
	k.mu.Unlock()
	_, err := r.srv.Root(http.MethodPost, "kv/metadata/"+k.path, map[string]any{"custom_metadata": map[string]any{"n": strconv.Itoa(n)}})
	if err == nil {
		k.mu.Lock()
		k.noted = n
		k.mu.Unlock()
	}
	return err
}

// remove deletes a private key with all its versions, and puts another into its place.
func (r *kvRig) remove(k *kvKey) error {
	k.mu.Lock()
	few := len(k.written) < 3
	k.removed = !few
	k.mu.Unlock()
	if few {
		return nil
	}
	r.mu.Lock()
	r.inUse[slices.Index(r.inUse[:], k)] = r.newKey(k.writer, true)
	r.removed = append(r.removed, k)
	r.mu.Unlock()
	_, err := r.srv.Root(http.MethodDelete, "kv/metadata/"+k.path, nil)
	if err == nil {
		k.mu.Lock()
		k.gone = true
		k.mu.Unlock()
	}
	return err
}

// check reads every key that is in use, and those that were removed since the last check.
func (r *kvRig) check() {
	r.t.Helper()
	for _, k := range r.inUse {
		r.checkKey(k)
	}
	for _, k := range r.removed {
		r.checkKey(k)
	}
	r.removed = nil
}

// read is an answer's data and its status, also where that is 404.
func (r *kvRig) read(path string) (data map[string]any, status int) {
	r.t.Helper()
	got, err := r.srv.Root(http.MethodGet, path, nil)
	var answer *proctest.Error
	switch {
	case err == nil:
		status = http.StatusOK
	case errors.As(err, &answer) && answer.Status == http.StatusNotFound && json.Unmarshal([]byte(answer.Body), &got) == nil:
		status = answer.Status
	default:
		r.t.Fatalf("%s: %v", path, err)
	}
	data, _ = got["data"].(map[string]any)
	return data, status
}

func (r *kvRig) checkKey(k *kvKey) {
	r.t.Helper()
	wrong := func(format string, args ...any) {
		r.t.Helper()
		r.t.Errorf(k.path+": "+format, args...)
	}
	metadata, status := r.read("kv/metadata/" + k.path)
	if status == http.StatusNotFound {
		if !k.removed && (len(k.written) > 0 || k.noted > 0) {
			wrong("%d acknowledged versions, and the key is lost", len(k.written))
		}
		if _, status := r.read("kv/data/" + k.path); status != http.StatusNotFound {
			wrong("a value without a key")
		}
		return
	}
	if k.gone {
		wrong("the key was deleted, and is there")
	}
	current, oldest := int(dig(metadata, "current_version").(float64)), int(dig(metadata, "oldest_version").(float64))
	last := 0
	for version := range k.written {
		last = max(last, version)
	}
	if current < last || current > len(k.written)+len(k.sent) {
		wrong("current version %d; %d was acknowledged, and %d writes had no answer", current, last, len(k.sent))
	}
	if want := max(0, current-kvWindow+1); oldest != want && (oldest != 0 || want > 1) {
		wrong("oldest version %d of %d", oldest, current)
	}
	if n, _ := strconv.Atoi(fmt.Sprint(dig(metadata, "custom_metadata", "n"))); n < k.noted || n > k.noting {
		wrong("the metadata says %d; %d was acknowledged, %d asked for", n, k.noted, k.noting)
	}
	told, _ := metadata["versions"].(map[string]any)
	if want := current - max(oldest, 1) + 1; len(told) != want {
		wrong("%d versions are named, of %d to %d", len(told), oldest, current)
	}
	seen := map[string]int{}
	for version := max(1, oldest-1); version <= current+1; version++ {
		about, named := told[strconv.Itoa(version)].(map[string]any)
		data, status := r.read(fmt.Sprintf("kv/data/%s?version=%d", k.path, version))
		if !named {
			if status != http.StatusNotFound || data != nil {
				wrong("version %d can be read, and the metadata does not name it", version)
			}
			continue
		}
		for _, field := range []string{"created_time", "deletion_time", "destroyed"} {
			if got := dig(data, "metadata", field); got != about[field] {
				wrong("version %d: %s is %v, and %v in the metadata", version, field, got, about[field])
			}
		}
		destroyed, _ := about["destroyed"].(bool)
		acknowledged, asked := k.destroyed[version]
		if acknowledged && !destroyed || destroyed && !asked {
			wrong("version %d: destroyed %v, asked for %v, acknowledged %v", version, destroyed, asked, acknowledged)
		}
		if about["deletion_time"] != "" && !k.deleted[version] {
			wrong("version %d is deleted, and nobody asked for it", version)
		}
		value, readable := dig(data, "data", "value").(string)
		if want := !destroyed && about["deletion_time"] == ""; readable != want || readable != (status == http.StatusOK) {
			wrong("version %d: readable %v with status %d, want %v", version, readable, status, want)
		}
		if !readable {
			continue
		}
		if want, told := k.written[version]; told && value != want || !told && !k.sent[value] {
			wrong("version %d holds %q, want %q", version, value, want)
		}
		if other, twice := seen[value]; twice {
			wrong("versions %d and %d hold the same write", other, version)
		}
		seen[value] = version
	}
}
