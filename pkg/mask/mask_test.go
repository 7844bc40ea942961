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
		{"/a?api%20key=hunter2&api+key=hunter2", "/a?api%20key=***&api+key=***"},
		{"/a?TOKEN=hunter2&Token=hunter2", "/a?TOKEN=***&Token=***"},
		{"/a?token[]=hunter2&token[]=hunter2&t=1", "/a?token[]=***&token[]=***&t=1"},
		{"/a?x=1;token=hunter2#token=hunter2", "/a?x=1;token=***#token=***"},
		{"/#/reset?token=hunter2", "/#/reset?token=***"},
		{"/a?AWSAccessKeyId=hunter2&Signature=hunter2&Expires=1", "/a?AWSAccessKeyId=***&Signature=***&Expires=1"},
		{"/a?sv=1&sig=hunter2%3D", "/a?sv=1&sig=***"},
		{"/a?assertion=hunter2&SAMLResponse=hunter2&ticket=hunter2&code_verifier=hunter2", "/a?assertion=***&SAMLResponse=***&ticket=***&code_verifier=***"},
		{"/a?db_pass=hunter2&pw=hunter2&bypass=1", "/a?db_pass=***&pw=***&bypass=1"},
		{"/a?to=https%3A%2F%2Fme%3Ahunter2%40host%2F", "/a?to=***"},
		{"/a?to=https://me:hunter2@host/", "/a?to=https://me:***@host/"},
		{"/a?q=%7B%22password%22%3A%22hunter2%22%7D", "/a?q=***"},
		{"/a?q={\"password\":\"hunter2\"}", "/a?q={\"password\":\"***\"}"},
		{"/a?q=100%25&x=%2", "/a?q=100%25&x=%2"},
		{"/a?author_id=1&keyword=x&session_count=", "/a?author_id=1&keyword=x&session_count="},
		{"http://me:hun/ter2@host/a", "http://me:***@host/a"},
		{"http://me:hun?ter2@host:80/a", "http://me:***@host:80/a"},
		{"http://me:hunt@er2@host/a", "http://me:***@host/a"},
		{"http://:hunter2@host/", "http://:***@host/"},
		{"https://hunter2:@host/", "https://***:@host/"},
		{"https://hunter2:x-oauth-basic@host/r.git", "https://***:x-oauth-basic@host/r.git"},
		{"http://host:80/a@b", "http://host:80/a@b"},
		{"http://[::1]:80/a@b", "http://[::1]:80/a@b"},
		{"http://[fe80::1%25eth0]/a@b", "http://[fe80::1%25eth0]/a@b"},
		{"/a?x=ASIA0123456789ABCDEF", "/a?x=***"},
		{"/a?x=AIza0123456789abcdefghijABCDEFGHIJ01234", "/a?x=***"},
		{"/services/T0000/B0000/hunter2", "/services/***"},
		{"/services/list", "/services/list"},
		{"/api/webhooks/123/hunter2?wait=true", "/api/webhooks/123/***?wait=true"},
		{"/webhookb2/a@b/IncomingWebhook/hunter2/c", "/webhookb2/***"},
		{"/bot123456:hunter2/sendMessage?chat_id=1", "/bot123456:***/sendMessage?chat_id=1"},
		{"/botany/a:b", "/botany/a:b"},
		{"/hooks/catch/1/hunter2/", "/hooks/catch/1/***"},
		{"/repos/a/b/hooks/42", "/repos/a/b/hooks/42"},
		{"/a?key=5&code=7", "/a?key=5&code=7"},
		{"/a?key=hunter2&sort_key=name", "/a?key=***&sort_key=name"},
		{"https://hunter2hunter22@host/", "https://***@host/"},
		{"ssh://hunter2hunter22@host/", "ssh://hunter2hunter22@host/"},
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
		{"sshpass|-p|hunter2|ssh|host|-p|22", "sshpass|-p|***|ssh|host|-p|22"},
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
		{"curl|-sSu|me:hunter2|u", "curl|-sSu|me:***|u"},
		{"curl|-skume:hunter2|u", "curl|-skume:***|u"},
		{"curl|-sSLo|/dev/null|u", "curl|-sSLo|/dev/null|u"},
		{"curl|-b|a=hunter2|--cookie|a=hunter2|u", "curl|-b|***|--cookie|***|u"},
		{"curl|me:hunter2@host/a?token=hunter2", "curl|me:***@host/a?token=***"},
		{"curl|host/a?token=hunter2", "curl|host/a?token=***"},
		{"curl|-H|Authorization: Digest username=\"me\", response=\"hunter2\"", "curl|-H|Authorization: ***"},
		{"curl|-H|authorization:hunter2", "curl|-H|authorization:***"},
		{"curl|-H|Ocp-Apim-Subscription-Key: hunter2", "curl|-H|Ocp-Apim-Subscription-Key: ***"},
		{"curl|-H|Proxy-Authorization: hunter2|-H|Set-Cookie: hunter2", "curl|-H|Proxy-Authorization: ***|-H|Set-Cookie: ***"},
		{"curl|-d|{\"user\":\"me\",\"password\":\"hunter2\",\"n\":1}", "curl|-d|{\"user\":\"me\",\"password\":\"***\",\"n\":1}"},
		{"curl|-d|{\"password\" : \"hun\\\"hunter2\", \"pin\": 4711}", "curl|-d|{\"password\" : \"***\", \"pin\": ***}"},
		{"curl|-d|{\"token\":{\"password\":\"hunter2\"}}", "curl|-d|{\"token\":{\"password\":\"***\"}}"},
		{"sh|-c|curl -d \"{\\\"password\\\":\\\"hunter2\\\"}\" u", "sh|-c|curl -d \"{\\\"password\\\":\\\"***\\\"}\" u"},
		{"python3|-c|x({'password': 'hunter2'})", "python3|-c|x({'password': '***'})"},
		{"sh|-c|cd /x; mysql -uroot -phunter2 db | wc -p80", "sh|-c|cd /x; mysql -uroot -p*** db | wc -p80"},
		{"sh|-c|mysql -p'hunter2' db", "sh|-c|mysql -p'***' db"},
		{"sh|-c|curl -su me:hunter2 https://host/", "sh|-c|curl -su me:*** https://host/"},
		{"sh|-c|/usr/bin/curl -u 'me:hunter2' u", "sh|-c|/usr/bin/curl -u 'me:***' u"},
		{"sh|-c|curl -u me:$PASS u; cp -u a b", "sh|-c|curl -u me:*** u; cp -u a b"},
		{"sh|-c|redis-cli -a hunter2 get x && cp -a b c", "sh|-c|redis-cli -a *** get x && cp -a b c"},
		{"mysql|-e|ALTER USER me IDENTIFIED BY 'hunter2'", "mysql|-e|ALTER USER me IDENTIFIED BY '***'"},
		{"psql|-c|ALTER USER me PASSWORD 'hunter2'", "psql|-c|ALTER USER me PASSWORD '***'"},
		{"env|PGPASSWORD=hunter2|MYSQL_PWD=hunter2|DB_PASS=hunter2|x", "env|PGPASSWORD=***|MYSQL_PWD=***|DB_PASS=***|x"},
		{"env|AWS_ACCESS_KEY_ID=hunter2|AWS_SECRET_ACCESS_KEY=hunter2|AWS_SESSION_TOKEN=hunter2|aws", "env|AWS_ACCESS_KEY_ID=***|AWS_SECRET_ACCESS_KEY=***|AWS_SESSION_TOKEN=***|aws"},
		{"aws|configure|set|aws_secret_access_key|hunter2", "aws|configure|set|aws_secret_access_key|***"},
		{"x|AKIA0123456789ABCDEF|ASIA0123456789ABCDEF", "x|***|***"},
		{"keytool|-storepass|hunter2|-keypass|hunter2", "keytool|-storepass|***|-keypass|***"},
		{"java|-Djavax.net.ssl.keyStorePassword=hunter2|X", "java|-Djavax.net.ssl.keyStorePassword=***|X"},
		{"redis-server|--requirepass|hunter2", "redis-server|--requirepass|***"},
		{"skopeo|copy|--src-creds|me:hunter2|-p|x", "skopeo|copy|--src-creds|***|-p|x"},
		{"nmcli|dev|wifi|connect|home|password|hunter2", "nmcli|dev|wifi|connect|home|password|***"},
		{"openssl|enc|-k|hunter2|-in|f", "openssl|enc|-k|***|-in|f"},
		{"openssl|s_client|-key|f|-keyform|PEM", "openssl|s_client|-key|f|-keyform|PEM"},
		{"lftp|-u|me,hunter2|host", "lftp|-u|me,***|host"},
		{"xfreerdp|/u:me|/p:hunter2|/v:host", "xfreerdp|/u:me|/p:***|/v:host"},
		{"rar|a|-hphunter2|x.rar", "rar|a|-hp***|x.rar"},
		{"ssh-keygen|-t|ed25519|-N|hunter2|-f|k", "ssh-keygen|-t|ed25519|-N|***|-f|k"},
		{"mount|-o|username=me,password=hunter2|//host/x", "mount|-o|username=me,password=***|//host/x"},
		{"helm|upgrade|--set|db.password=hunter2", "helm|upgrade|--set|db.password=***"},
		{"kubectl|create|secret|generic|s|--from-literal=password=hunter2", "kubectl|create|secret|generic|s|--from-literal=password=***"},
		{"x|--PASSWORD=hunter2|--Token|hunter2", "x|--PASSWORD=***|--Token|***"},
		{"x|/password:hunter2", "x|/password:***"},
		{"sh|-c|echo '-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----' >k", "sh|-c|echo '-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----' >k"},
		{"grep|password|/etc/x", "grep|password|/etc/x"},
		{"find|.|-name|*.pass", "find|.|-name|*.pass"},
		{"git|log|--author=me", "git|log|--author=me"},
		{"npm|install|chalk@npm:x@5", "npm|install|chalk@npm:x@5"},
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
	f.Add("sh|-c|echo x | sudo -S mysql -p'a' \"b\\\"c\" && curl -u a:b https://c:d@e/?f=g")
	f.Add("sudo|-u|a|docker|exec|-it|b|sh|-c|redis-cli -a '{\"key\": \"c\"}'")
	f.Add("htpasswd|-nb|a|b|vault|kv|put|c|d=e|-----BEGIN PRIVATE KEY-----f-----END")
	f.Fuzz(func(t *testing.T, s string) {
		argv := bytes.Split([]byte(s), []byte("|"))
		before := bytes.Split([]byte(s), []byte("|"))
		Args(argv)
		for i, a := range argv {
			masked(t, before[i], a)
			AppendTarget(nil, a)
			masked(t, before[i], AppendTarget(nil, before[i]))
		}
		if n := strings.Count(s, "|") + 1; len(argv) != n {
			t.Errorf("%d arguments became %d", n, len(argv))
		}
	})
}

// masked checks that a masked text is the text with Hidden in place of parts of it.
func masked(t *testing.T, text, got []byte) {
	t.Helper()
	if bytes.IndexByte(text, '*') >= 0 {
		return // which cannot be told from Hidden
	}
	rest := text
	for i, part := range bytes.Split(got, []byte(Hidden)) {
		n := bytes.Index(rest, part)
		if n < 0 || i == 0 && n > 0 {
			t.Errorf("%q became %q", text, got)
			return
		}
		rest = rest[n+len(part):]
	}
}

func BenchmarkShell(b *testing.B) {
	in := bytes.Split([]byte("sh|-c|cd /x && test -f y || mysql -uroot -phunter2 db | grep 'a b' > out"), []byte("|"))
	argv := make([][]byte, len(in))
	b.ReportAllocs()
	for b.Loop() {
		copy(argv, in)
		Args(argv)
	}
}

func BenchmarkArgs(b *testing.B) {
	in := bytes.Split([]byte("cc|-O2|-Wall|-o|build/x.o|-c|src/x.c|-I/usr/include|-DNAME=value"), []byte("|"))
	b.ReportAllocs()
	for range b.N {
		Args(in)
	}
}
