package probe

import "testing"

func TestParseTraceparent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for text, ok := range map[string]bool{
		"00-" + trace + "-" + span + "-01":                     true,
		"00-" + trace + "-" + span + "-00":                     true,
		"cc-" + trace + "-" + span + "-01":                     true,
		"cc-" + trace + "-" + span + "-01-what.the-future-has": true,
		"00-" + trace + "-" + span + "-01-more":                false,
		"ff-" + trace + "-" + span + "-01":                     false,
		"":                                                     false,
		"00":                                                   false,
		"00-" + trace + "-" + span:                             false,
		"00-" + trace[1:] + "-" + span + "-01":                 false,
		"00-" + trace + "-" + span[1:] + "-01":                 false,
		"00-" + trace + "-" + span + "-1":                      false,
		"0-" + trace + "-" + span + "-01":                      false,
		"00-0AF7651916CD43DD8448EB211C80319C-" + span + "-01":  false,
		"00-" + trace[:31] + "g-" + span + "-01":               false,
		"00-" + trace + "-" + span[:15] + "g-01":               false,
		"00-" + trace + "-" + span + "-0g":                     false,
		"0g-" + trace + "-" + span + "-01":                     false,
		"00-00000000000000000000000000000000-" + span + "-01":  false,
		"00-" + trace + "-0000000000000000-01":                 false,
		" 00-" + trace + "-" + span + "-01":                    false,
		"00-" + trace + "-" + span + "-01\n":                   false,
		"00-" + trace + "-" + span + "-01-":                    false,
	} {
		gotTrace, gotSpan, err := ParseTraceparent(text)
		if (err == nil) != ok {
			t.Errorf("%q: error %v", text, err)
		}
		if ok && (gotTrace[0] != 0x0a || gotTrace[15] != 0x9c || gotSpan != 0xb7ad6b7169203331) {
			t.Errorf("%q: trace %x, span %x", text, gotTrace, gotSpan)
		}
		if !ok && (gotTrace != [16]byte{} || gotSpan != 0) {
			t.Errorf("%q: an error, and trace %x, span %x", text, gotTrace, gotSpan)
		}
	}
}
