package transit

import (
	"fmt"
	"testing"
)

// The cache keeps what was used last, as many as its mount allows.
func TestCacheSize(t *testing.T) {
	t.Parallel()
	var all caches
	c := all.of("mount")
	for i := range 20 {
		c.put(&key{id: fmt.Sprint(i), stamp: "s"}, 10)
		c.key("0", "s")
	}
	for i := range 20 {
		if held := c.key(fmt.Sprint(i), "s") != nil; held != (i == 0 || i > 10) {
			t.Errorf("key %d is held: %v", i, held)
		}
	}
	k := c.key("0", "s")
	for n := range 3 * cachedVersions {
		c.putVersion(k, &version{number: n})
	}
	held := 0
	for n := range 3 * cachedVersions {
		if c.version(k, n) != nil {
			held++
		}
	}
	if held != cachedVersions || c.version(k, 3*cachedVersions-1) == nil {
		t.Errorf("%d versions are held", held)
	}
	for i := range 2 * defaultCacheSize {
		c.put(&key{id: fmt.Sprint(i), stamp: "t"}, 0)
	}
	if c.order.Len() != defaultCacheSize {
		t.Errorf("%d keys are held without a limit", c.order.Len())
	}
}

// A key is good only with the stamp that it was read with.
func TestCacheStamp(t *testing.T) {
	t.Parallel()
	var all caches
	c := all.of("mount")
	old := &key{id: "k", stamp: "old"}
	c.put(old, 0)
	c.putVersion(old, &version{number: 1})
	if c.key("k", "old") != old || c.version(old, 1) == nil {
		t.Error("what was put is not there")
	}
	if c.key("k", "new") != nil {
		t.Error("a key that has changed is given as it was")
	}
	c.put(&key{id: "k", stamp: "new"}, 0)
	if c.version(old, 1) != nil {
		t.Error("a version of the old key is given to the new one")
	}
	c.putVersion(old, &version{number: 1})
	if c.version(c.key("k", "new"), 1) != nil {
		t.Error("a version of the old key was put to the new one")
	}
	all.of("other").put(&key{id: "k", stamp: "new"}, 0)
	all.forget()
	if all.of("mount").key("k", "new") != nil || all.of("other").key("k", "new") != nil {
		t.Error("keys stay when the store is sealed")
	}
}
