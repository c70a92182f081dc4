package crash

import "testing"

// found counts the places where data holds a secret. It goes over data once for each length that secrets have, as there may be
// tens of thousands of them and a gigabyte of data.
func found(data []byte, secrets map[string]bool) (places int) {
	const begin = 4
	beginnings := map[int]map[[begin]byte]bool{} // of the secrets of a length
	for secret := range secrets {
		if beginnings[len(secret)] == nil {
			beginnings[len(secret)] = map[[begin]byte]bool{}
		}
		beginnings[len(secret)][[begin]byte([]byte(secret))] = true // a shorter one panics: it would be found anywhere
	}
	for length, known := range beginnings {
		for i := range len(data) - length + 1 {
			if known[[begin]byte(data[i:i+begin])] && secrets[string(data[i:i+length])] {
				places++
			}
		}
	}
	return places
}

func TestFound(t *testing.T) {
	t.Parallel()
	secrets := map[string]bool{"abcd": true, "abcde": true, "vwxyz": true}
	for data, want := range map[string]int{"": 0, "abc": 0, "abcd": 1, "abcde": 2, "xxabcdexx": 2, "abcvwxyz": 1, "abcdabcd": 2, "vwxy": 0} {
		if got := found([]byte(data), secrets); got != want {
			t.Errorf("%q: %d places, want %d", data, got, want)
		}
	}
}
