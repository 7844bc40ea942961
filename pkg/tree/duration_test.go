package tree

import "testing"

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "0.0us", 49: "0.0us", 50: "0.1us", 51: "0.1us", 150: "0.2us", 250: "0.2us", 50_550: "50.6us",
		646_450: "646.4us", 482_050: "482.0us", 161_950: "162.0us", 999_949: "999.9us", 999_999: "1000.0us",
		1_000_000: "1.0ms", 1_050_000: "1.0ms", 1_150_000: "1.2ms", 3_600_000_000_000: "3600000.0ms",
		-1_000: "-1.0us", -5_000_000: "-5.0ms", -40: "-0.0us", -9223372036854775808: "-9223372036854.8ms",
	} {
		if got := string(appendDuration(nil, ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
	for ns, want := range map[int64]string{0: "0.000s", 500_000: "0.000s", 1_500_000: "0.002s", 2_500_000: "0.002s", 61_000_000_000: "61.000s", -1_000_000: "-0.001s"} {
		if got := string(appendSeconds(nil, ns)); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
}
