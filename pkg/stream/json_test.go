package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"vivarium/pkg/event"
)

func TestJSON(t *testing.T) {
	ev := sampleEvent()
	ev.Fields[0].Text = []byte("/tmp/\"q\"\\\n\x1b[31mé\u202e☃𝄞\U000e0001")
	raw := sampleEvent()
	raw.Comm, raw.Origin = []byte("\xffx"), []byte("abc")
	for _, test := range []struct {
		rec  []byte
		want string
	}{
		{build(t, func(w *Writer) { w.Event(ev) }), `{"type":"event","event":"path_open","ktime_ns":5000000123456,"pid":4100,"tid":4101,"uid":1000,"gid":1000,` +
			`"comm":"ruby","trace_id":"01020300000000000000000000000009","span_id":"1122334455667788","parent_span_id":"0000000000000007",` +
			`"path":"/tmp/\"q\"\\\n\u001b[31mé\u202e☃𝄞\udb40\udc01","flags":32768}`},
		{build(t, func(w *Writer) { w.Event(raw) }), `{"type":"event","event":"path_open","ktime_ns":5000000123456,"pid":4100,"tid":4101,"uid":1000,"gid":1000,` +
			`"comm":"\\xFFx","comm_bytes":"/3g=","trace_id":"01020300000000000000000000000009","span_id":"1122334455667788","parent_span_id":"0000000000000007",` +
			`"path":"/usr/lib/ruby/3.1.0/json/common.rb","flags":32768,"payload":{"base64":"YWJj"}}`},
		{build(t, func(w *Writer) {
			w.Session(&Session{Version: 1, Targets: []uint32{7, 8}, Hooks: map[string]string{"a": "b"}, Host: Host{Name: "h"}})
		}), `{"type":"session","format":"viv","version":1,"start_unix_ns":0,"start_ktime_ns":0,"targets":[7,8],` +
			`"host":{"name":"h","os":"","kernel":"","arch":"","boot_id":""},"hooks":{"a":"b"},"masked":false}`},
		{[]byte("\x80"), `{}`},
		{[]byte("\x8c\x01\xff\xc0\xc0\xa1n\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1d\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xa1f\xca\x7f\x80\x00\x00\xa1g\xca\x3f\x00\x00\x00" +
			"\xa1e\xd4\x05\xff\xa1x\xc7\x02\x06ab\x91\x01\x90\xa1\xff\x81\xa1k\xd3\xff\xff\xff\xff\x00\x00\x00\x00\xa7span_id\xa1x\xa8trace_id\x01"),
			`{"1":-1,"null":null,"n":18446744073709551615,"d":1.5,"f":null,"g":0.5,"e":{"ext":5,"base64":"/w=="},"x":{"ext":6,"base64":"YWI="},"[1]":[],` +
				`"{\"base64\":\"/w==\"}":{"k":-4294967296},"span_id":"x","trace_id":1}`},
		{[]byte("\x81\xadchild_span_id\x05"), `{"child_span_id":"0000000000000005"}`},
		// Text that is not UTF-8: alone, in lists, in maps, also of unknown keys.
		{[]byte("\x82\xa4path\xa4a\xc3\xa9\xe9\xa4argv\x93\xa2sh\xa2\xffx\xa0"), `{"path":"aé\\xE9","path_bytes":"YcOp6Q==","argv":["sh","\\xFFx",""],"argv_bytes":["c2g=","/3g=",""]}`},
		{[]byte("\x81\xa4host\x82\xa4name\xa1\xff\xa1k\x01"), `{"host":{"name":"\\xFF","name_bytes":"/w==","k":1}}`},
		{[]byte("\x81\xa1l\x93\x01\x92\xa1\x80\xc3\x81\xa1m\xa1\xfe"), `{"l":[1,["\\x80",true],{"m":"\\xFE","m_bytes":"/g=="}],"l_bytes":[null,["gA==",null],null]}`},
		{[]byte("\x81\xa1b\xc4\x02\xed\xa0"), `{"b":"\\xED\\xA0","b_bytes":"7aA="}`},
		{[]byte("\x81\xa1t\xa5\\xFF\xff"), `{"t":"\\xFF\\xFF","t_bytes":"XHhGRv8="}`},
	} {
		if got := string(AppendJSON(nil, parsed(t, test.rec))); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// checkJSON checks what holds for any record.
func checkJSON(t testing.TB, rec *Record) {
	b := AppendJSON([]byte("x"), rec)[1:]
	if !json.Valid(b) {
		t.Fatalf("not JSON: %s", b)
	}
	if i := bytes.IndexFunc(b, func(c rune) bool { return !unicode.IsPrint(c) }); i >= 0 {
		t.Fatalf("a character that does not print at %d: %q", i, b)
	}
}

func TestJSONOfRandomEvents(t *testing.T) {
	rnd := rand.New(rand.NewPCG(11, 12))
	for range 500 {
		ev := randEvent(rnd)
		rec := parsed(t, build(t, func(w *Writer) { w.Event(ev) }))
		checkJSON(t, rec)
		var got map[string]any
		if err := json.Unmarshal(AppendJSON(nil, rec), &got); err != nil {
			t.Fatal(err)
		}
		keys := len(rec.pairs)
		for key := range got {
			if strings.HasSuffix(key, "_bytes") {
				keys++
			}
		}
		if len(got) != keys {
			t.Fatalf("%d keys for %d", len(got), keys)
		}
		if ev.Kind == &event.Kinds[event.PathOpen] && ev.Fields[0].Type == event.Text {
			text := got["path"].(string)
			if encoded, ok := got["path_bytes"]; ok {
				b, err := base64.StdEncoding.DecodeString(encoded.(string))
				if err != nil || utf8.Valid(b) {
					t.Fatalf("path_bytes %q: %v", encoded, err)
				}
				text = string(b)
			}
			if text != string(ev.Fields[0].Text) {
				t.Fatalf("path %q for %q", text, ev.Fields[0].Text)
			}
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	rec := parsed(b, build(b, func(w *Writer) { w.Event(sampleEvent()) }))
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out = AppendJSON(out[:0], rec)
	}
}
