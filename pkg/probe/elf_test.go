package probe

import "testing"

func TestEntry(t *testing.T) {
	for _, c := range []struct {
		name, code string
		want       uint64
	}{
		{"push", "\x41\x57\x41\x56\x90\x90\x90\x90", 0},
		{"SSL_write_ex of OpenSSL 3.0", "\x48\x83\xec\x08\xe8\x87\xfb\xff\xff\x85\xc0", 4},
		{"SSL_write of OpenSSL 3.0", "\x48\x83\xec\x18\x64\x48\x8b\x04\x25\x28\x00\x00\x00\x48\x89\x44\x24\x08\x31\xc0\x85\xd2\x78\x2a\x90\x90\x90\x90", 22},
		{"endbr64 and push", "\xf3\x0f\x1e\xfa\x55\x48\x89\xe5\x90\x90", 4},
		{"an argument is moved first", "\x48\x89\xf7\x55\x90\x90\x90\x90", 0},
		{"something behind harmless ones", "\x48\x83\xec\x08\x48\x89\xf7\x55\x90\x90\x90", 0},
		{"too short", "\x48\x83\xec\x08", 0},
		{"nothing", "", 0},
	} {
		if got := entry([]byte(c.code)); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}
