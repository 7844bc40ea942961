package otlp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace/ptraceotlp"
)

// HTTP sends batches to an OTLP receiver by HTTP.
type HTTP struct {
	url    *url.URL
	json   bool
	client *http.Client
}

// Protocols of OTLP.
const (
	HTTPProtobuf = "http/protobuf"
	HTTPJSON     = "http/json"
)

const timeout = 10 * time.Second

// NewHTTP returns a sender of traces to the given endpoint and by the given
// protocol. `/v1/traces` is appended to the endpoint unless it is its end, or
// exact is set.
func NewHTTP(endpoint, protocol string, exact bool) (*HTTP, error) {
	endpoint = strings.TrimSpace(endpoint)
	if !exact {
		endpoint = strings.TrimSuffix(endpoint, "/")
		if !strings.HasSuffix(endpoint, "/v1/traces") {
			endpoint += "/v1/traces"
		}
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the endpoint is no URL like http://localhost:4318")
	}
	if protocol != HTTPProtobuf && protocol != HTTPJSON {
		return nil, fmt.Errorf("unknown protocol %q", protocol)
	}
	return &HTTP{u, protocol == HTTPJSON, &http.Client{
		Timeout: timeout,
		// A redirected POST arrives without its body.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Send sends one batch once.
func (h *HTTP) Send(ctx context.Context, b Batch) error {
	body, kind := b.Body, "application/x-protobuf"
	if h.json {
		var err error
		if body, err = b.JSON(); err != nil {
			return err
		}
		kind = "application/json"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", kind)
	res, err := h.client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err // its text has the URL, and with that a user name
		}
		return fmt.Errorf("send %d %s to %s: %w", b.Items, items[b.Signal], h, err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("send %d %s to %s: it answered %s", b.Items, items[b.Signal], h, res.Status)
	}
	if err != nil {
		return fmt.Errorf("send %d %s to %s: %w", b.Items, items[b.Signal], h, err)
	}
	r := ptraceotlp.NewExportResponse()
	if h.json {
		err = r.UnmarshalJSON(answer)
	} else {
		err = r.UnmarshalProto(answer)
	}
	if p := r.PartialSuccess(); err == nil && p.RejectedSpans() > 0 {
		return fmt.Errorf("%s rejected %d of %d spans: %s", h, p.RejectedSpans(), b.Items, p.ErrorMessage())
	}
	return nil
}

var items = [...]string{Traces: "spans", Logs: "log records"}

// String is the URL without what may be secret in it.
func (h *HTTP) String() string {
	return (&url.URL{Scheme: h.url.Scheme, Host: h.url.Host, Path: h.url.Path}).String()
}
