package keyring

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Keyring is the set of keys of one store. Safe for concurrent use.
type Keyring struct {
	mu      sync.RWMutex
	data    map[uint32]*dataKey // guarded by mu; nil once wiped
	newest  uint32              // guarded by mu
	indexed [KeySize]byte       // guarded by mu

	sealed atomic.Int64
}

type dataKey struct {
	key       [KeySize]byte
	aead      cipher.AEAD // of key
	installed time.Time
}

// wipe overwrites the key. The cipher's copy is out of reach until the garbage collector has it.
func (d *dataKey) wipe() {
	clear(d.key[:])
	d.aead = nil
}

// New makes a keyring with one data key, number 1, and an index key.
func New(now time.Time) *Keyring {
	k := &Keyring{data: map[uint32]*dataKey{}}
	_, _ = rand.Read(k.indexed[:])
	k.addLocked(now)
	return k
}

func (k *Keyring) addLocked(now time.Time) {
	key := &dataKey{installed: now.UTC().Truncate(time.Microsecond)}
	_, _ = rand.Read(key.key[:])
	key.aead = newCipher(&key.key)
	k.newest++
	k.data[k.newest] = key
}

// Rotate adds a data key, which seals from now on. Errors: ErrWiped.
func (k *Keyring) Rotate(now time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.data == nil {
		return ErrWiped
	}
	k.addLocked(now)
	return nil
}

// Adopt takes over the data keys of newer, which is a later state of the same keyring, and wipes newer.
// Errors: ErrWiped.
func (k *Keyring) Adopt(newer *Keyring) error {
	newer.mu.Lock()
	data, newest := newer.data, newer.newest
	newer.wipeIndexLocked()
	newer.data = nil
	newer.mu.Unlock()
	if data == nil {
		return ErrWiped
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	if k.data == nil {
		wipe(data)
		return ErrWiped
	}
	for id, key := range data {
		if _, have := k.data[id]; have {
			key.wipe()
			continue
		}
		k.data[id] = key
	}
	k.newest = max(k.newest, newest)
	return nil
}

// Newest is the number of the key that seals, and when it was added. A wiped keyring has number 0.
func (k *Keyring) Newest() (id uint32, installed time.Time) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.data == nil {
		return 0, time.Time{}
	}
	return k.newest, k.data[k.newest].installed
}

// Sealed is how many values this keyring has sealed since it was made or read.
func (k *Keyring) Sealed() int64 { return k.sealed.Load() }

// Seal seals plain for one place. Errors: ErrWiped.
func (k *Keyring) Seal(p Place, plain []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.data == nil {
		return nil, ErrWiped
	}
	k.sealed.Add(1)
	return seal(k.newest, k.data[k.newest].aead, p, plain), nil
}

// Open opens what Seal made for the same place. Errors: ErrTampered, ErrUnknownKey, ErrWiped.
func (k *Keyring) Open(p Place, sealed []byte) ([]byte, error) {
	id, err := keyID(sealed)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.data == nil {
		return nil, ErrWiped
	}
	key, have := k.data[id]
	if !have {
		return nil, ErrUnknownKey
	}
	return open(key.aead, p, sealed)
}

// Index is a keyed hash of value, 64 lower-case hexadecimal digits: equal values have equal hashes, and nothing else
// can be told or tried without the key. Hashes of different purposes are unrelated. Errors: ErrWiped.
func (k *Keyring) Index(purpose string, value []byte) (string, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.data == nil {
		return "", ErrWiped
	}
	mac := hmac.New(sha256.New, k.indexed[:])
	// The length keeps ("ab", "c") apart from ("a", "bc").
	var buf [sha256.Size]byte
	mac.Write(binary.BigEndian.AppendUint32(buf[:0], uint32(len(purpose))))
	mac.Write([]byte(purpose))
	mac.Write(value)
	return hex.EncodeToString(mac.Sum(buf[:0])), nil
}

// Wipe overwrites the keys. Every later use fails with ErrWiped. Go may have copied keys before; those copies are out
// of reach.
func (k *Keyring) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	wipe(k.data)
	k.wipeIndexLocked()
	k.data = nil
}

func (k *Keyring) wipeIndexLocked() { clear(k.indexed[:]) }

func wipe(data map[uint32]*dataKey) {
	for _, key := range data {
		key.wipe()
	}
}

const (
	encodingVersion = 1
	encodedHead     = 1 + KeySize + 4
	encodedKey      = 4 + 8 + KeySize
)

// Encode is the keyring as bytes, for Decode:
//
//	version (1) | index key (32) | number of keys (4) | for each: id (4), installed in microseconds (8), key (32)
//
// The caller seals the bytes and wipes them. Errors: ErrWiped.
func (k *Keyring) Encode() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.data == nil {
		return nil, ErrWiped
	}
	// Sized once: growing would leave copies of keys behind.
	out := make([]byte, 0, encodedHead+len(k.data)*encodedKey)
	out = append(out, encodingVersion)
	out = append(out, k.indexed[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(k.data)))
	for id := uint32(1); id <= k.newest; id++ {
		key := k.data[id]
		out = binary.BigEndian.AppendUint32(out, id)
		out = binary.BigEndian.AppendUint64(out, uint64(key.installed.UnixMicro()))
		out = append(out, key.key[:]...)
	}
	return out, nil
}

var errEncoding = errors.New("the keyring is not in a known form")

// Decode reads what Encode made. It copies the keys; the caller wipes b.
func Decode(b []byte) (*Keyring, error) {
	if len(b) < encodedHead+encodedKey || b[0] != encodingVersion || (len(b)-encodedHead)%encodedKey != 0 {
		return nil, errEncoding
	}
	k := &Keyring{data: map[uint32]*dataKey{}}
	copy(k.indexed[:], b[1:])
	count := (len(b) - encodedHead) / encodedKey
	if binary.BigEndian.Uint32(b[1+KeySize:]) != uint32(count) {
		return nil, errEncoding
	}
	for b = b[encodedHead:]; len(b) > 0; b = b[encodedKey:] {
		k.newest++
		if id := binary.BigEndian.Uint32(b); id != k.newest {
			return nil, fmt.Errorf("%w: key %d stands where %d belongs", errEncoding, id, k.newest)
		}
		key := &dataKey{installed: time.UnixMicro(int64(binary.BigEndian.Uint64(b[4:]))).UTC()}
		copy(key.key[:], b[12:encodedKey])
		key.aead = newCipher(&key.key)
		k.data[k.newest] = key
	}
	return k, nil
}
