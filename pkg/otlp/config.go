package otlp

import (
	"net/url"
	"strings"
)

// ResourceFromEnv returns the attributes that OTEL_RESOURCE_ATTRIBUTES and
// OTEL_SERVICE_NAME give.
func ResourceFromEnv(getenv func(string) string) map[string]string {
	attrs := map[string]string{}
	for _, pair := range strings.Split(getenv("OTEL_RESOURCE_ATTRIBUTES"), ",") {
		k, v, ok := strings.Cut(pair, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			continue
		}
		v = strings.TrimSpace(v)
		if s, err := url.PathUnescape(v); err == nil {
			v = s
		}
		attrs[k] = v
	}
	if name := getenv("OTEL_SERVICE_NAME"); name != "" {
		attrs["service.name"] = name
	}
	return attrs
}
