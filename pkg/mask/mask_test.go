package mask

import (
	"bytes"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"/", "/"},
		{"*", "*"},
		{"/index.html", "/index.html"},
		{"/search?q=cats&page=2", "/search?q=cats&page=2"},
		{"/a?token=hunter2", "/a?token=***"},
		{"/a?q=1&access_token=hunter2&b=3", "/a?q=1&access_token=***&b=3"},
		{"/a?Access-Token=hunter2", "/a?Access-Token=***"},
		{"/a?%74oken=hunter2", "/a?%74oken=***"},
		{"/a?api_key=hunter2;x=1", "/a?api_key=***;x=1"},
		{"/a?user[password]=hunter2", "/a?user[password]=***"},
		{"/a?password=hun=ter2", "/a?password=***"},
		{"/a?X-Amz-Signature=hunter2&X-Amz-Date=1", "/a?X-Amz-Signature=***&X-Amz-Date=1"},
		{"/a?sig=hunter2", "/a?sig=***"},
		{"/a?code=hunter2&state=1", "/a?code=***&state=1"},
		{"/a?token=", "/a?token="},
		{"/a?token", "/a?token"},
		{"/a?author=me&sigma=1&design=2", "/a?author=me&sigma=1&design=2"},
		{"/a?token=hunter2 with blanks&x=1", "/a?token=***&x=1"},
		{"/a#access_token=hunter2", "/a#access_token=***"},
		{"/a;jsessionid=hunter2", "/a;jsessionid=***"},
		{"/a?next=%2Fb%3Ftoken%3Dhunter2", "/a?next=%2Fb%3F***"},
		{"http://me:hunter2@host/a?token=hunter2", "http://me:***@host/a?token=***"},
		{"http://me@host/", "http://me@host/"},
		{"http://host/a@b:c", "http://host/a@b:c"},
		{"host:443", "host:443"},
		{"me:hunter2@host", "me:***@host"},
		{"/hooks/ghp_0123456789abcdefghijABCDEFGHIJ012345/x", "/hooks/***/x"},
	} {
		if got := string(AppendTarget(nil, []byte(c.in))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestArgs(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ls|-l|/tmp", "ls|-l|/tmp"},
		{"x|--password=hunter2", "x|--password=***"},
		{"x|--password|hunter2|file", "x|--password|***|file"},
		{"x|-password|hunter2", "x|-password|***"},
		{"x|--db-password|hunter2", "x|--db-password|***"},
		{"x|--token=hunter2", "x|--token=***"},
		{"x|--api-key|hunter2", "x|--api-key|***"},
		{"x|--api_key=hunter2", "x|--api_key=***"},
		{"x|--password-stdin|file", "x|--password-stdin|file"},
		{"x|--token-file|/run/token", "x|--token-file|/run/token"},
		{"x|--no-auth|file", "x|--no-auth|file"},
		{"x|--author|me", "x|--author|me"},
		{"x|--key|file.pem", "x|--key|file.pem"},
		{"env|PASSWORD=hunter2|PATH=/bin|cmd", "env|PASSWORD=***|PATH=/bin|cmd"},
		{"docker|run|-e|API_TOKEN=hunter2|-p|80:80|img", "docker|run|-e|API_TOKEN=***|-p|80:80|img"},
		{"docker|login|-u|me|-p|hunter2", "docker|login|-u|me|-p|***"},
		{"git|clone|https://me:hunter2@host/r.git", "git|clone|https://me:***@host/r.git"},
		{"git|clone|ssh://git@host/r.git", "git|clone|ssh://git@host/r.git"},
		{"git|-c|http.extraHeader=Authorization: Basic hunter2|fetch", "git|-c|http.extraHeader=Authorization: ***|fetch"},
		{"curl|https://host/a?token=hunter2", "curl|https://host/a?token=***"},
		{"curl|-H|Authorization: Bearer hunter2|u", "curl|-H|Authorization: ***|u"},
		{"curl|-H|Cookie: a=hunter2; b=hunter2", "curl|-H|Cookie: ***"},
		{"curl|-H|X-Api-Key:hunter2", "curl|-H|X-Api-Key:***"},
		{"curl|-HAuthorization: Bearer hunter2", "curl|-HAuthorization: ***"},
		{"curl|--header=Authorization: hunter2", "curl|--header=Authorization: ***"},
		{"curl|-H|Accept: text/html", "curl|-H|Accept: text/html"},
		{"curl|-u|me:hunter2|u", "curl|-u|me:***|u"},
		{"curl|-ume:hunter2", "curl|-ume:***"},
		{"curl|--user=me:hunter2", "curl|--user=me:***"},
		{"/usr/bin/curl|--user|me:hunter2", "/usr/bin/curl|--user|me:***"},
		{"curl|-d|user=me&password=hunter2&x=1", "curl|-d|user=me&password=***&x=1"},
		{"wget|--password=hunter2|--user=me", "wget|--password=***|--user=me"},
		{"mysql|-phunter2|-u|me|db", "mysql|-p***|-u|me|db"},
		{"mysql|-p|db", "mysql|-p|db"},
		{"sshpass|-p|hunter2|ssh|host|-p|22", "sshpass|-p|***|ssh|host|-p|***"},
		{"mkdir|-p|a/b", "mkdir|-p|a/b"},
		{"redis-cli|-a|hunter2|get|x", "redis-cli|-a|***|get|x"},
		{"smbclient|-U|me%hunter2|//host/x", "smbclient|-U|me%***|//host/x"},
		{"openssl|enc|-passin|pass:hunter2", "openssl|enc|-passin|pass:***"},
		{"openssl|rsa|-in|k|pass:hunter2", "openssl|rsa|-in|k|pass:***"},
		{"psql|postgresql://me:hunter2@host/db", "psql|postgresql://me:***@host/db"},
		{"x|--password=hunter two", "x|--password=***"},
		{"env|PASSWORD=hunter two|x", "env|PASSWORD=***|x"},
		{"sh|-c|x --password 'hunter two' y", "sh|-c|x --password '***' y"},
		{"sh|-c|TOKEN=\"hunter two\" y", "sh|-c|TOKEN=\"***\" y"},
		{"psql|host=h password=hunter2 dbname=d", "psql|host=h password=*** dbname=d"},
		{"sh|-c|curl -H 'Authorization: Bearer hunter2' https://me:hunter2@host/?token=hunter2 && echo", "sh|-c|curl -H 'Authorization: ***' https://me:***@host/?token=*** && echo"},
		{"sh|-c|x --password hunter2 y", "sh|-c|x --password *** y"},
		{"sh|-c|PASSWORD='' TOKEN=hunter2 x", "sh|-c|PASSWORD='' TOKEN=*** x"},
		{"x|Bearer hunter2", "x|Bearer ***"},
		{"x|ghp_0123456789abcdefghijABCDEFGHIJ012345", "x|***"},
		{"x|eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.hunter2hunter2", "x|***"},
		{"x||--password|", "x||--password|"},
		{"python3|-c|import os; print(os.environ)", "python3|-c|import os; print(os.environ)"},
		{"/opt/token=hunter2", "/opt/token=hunter2"}, // the program's own name
		{"x|/var/lib/token/file", "x|/var/lib/token/file"},
		{"x|/srv/password=x", "x|/srv/password=x"}, // a path
	} {
		argv := bytes.Split([]byte(c.in), []byte("|"))
		Args(argv)
		if got := string(bytes.Join(argv, []byte("|"))); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

// TestArgsLeavesBytes: an argument may alias a buffer that others read.
func TestArgsLeavesBytes(t *testing.T) {
	arg := []byte("--password=hunter2")
	Args([][]byte{[]byte("x"), arg})
	if string(arg) != "--password=hunter2" {
		t.Errorf("the argument itself became %s", arg)
	}
}

func FuzzMask(f *testing.F) {
	f.Add("curl|-H|Authorization: Bearer hunter2|https://me:hunter2@host/?token=hunter2")
	f.Add("x|--password|hunter2|a=b&c=%3F%3d")
	f.Fuzz(func(t *testing.T, s string) {
		argv := bytes.Split([]byte(s), []byte("|"))
		Args(argv)
		for _, a := range argv {
			AppendTarget(nil, a)
		}
		if n := strings.Count(s, "|") + 1; len(argv) != n {
			t.Errorf("%d arguments became %d", n, len(argv))
		}
	})
}

func BenchmarkArgs(b *testing.B) {
	in := bytes.Split([]byte("cc|-O2|-Wall|-o|build/x.o|-c|src/x.c|-I/usr/include|-DNAME=value"), []byte("|"))
	b.ReportAllocs()
	for range b.N {
		Args(in)
	}
}
