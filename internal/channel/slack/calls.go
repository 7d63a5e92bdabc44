package slack

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	api "github.com/slack-go/slack"

	"github.com/parleyhq/parley/internal/channel"
	"github.com/parleyhq/parley/internal/fault"
)

// maxAnswer is more than Slack answers to any call of ours.
const maxAnswer = 8 << 20

// newCaller makes calls to Slack: bounded in time and size, and never led
// elsewhere, since they bear the token.
func newCaller() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = 15 * time.Second
	return &http.Client{
		Transport: bounded{t}, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	}
	return resp, err
}

// refusals says what Slack's words mean and what to do about them.
var refusals = map[string]string{
	"account_inactive":                         "the app's bot was deactivated: install the app again and configure its new token",
	"token_revoked":                            "the token was revoked: install the app again and configure its new token",
	"token_expired":                            "the token has expired: configure one that does not rotate",
	"invalid_auth":                             "the token is not valid: configure the one on the app's page, xoxb-...",
	"not_authed":                               "the token is missing",
	"not_allowed_token_type":                   "this is not a bot's token: configure the one that begins with xoxb-",
	"channel_not_found":                        "the app does not see this channel: invite it there",
	"not_in_channel":                           "the app is not in this channel: invite it there, or give it the scope chat:write.public",
	"is_archived":                              "the channel is archived",
	"cannot_reply_to_message":                  "this message can't have replies",
	"thread_not_found":                         "the thread is gone",
	"message_not_found":                        "the message is gone",
	"cant_update_message":                      "the message is not the app's own",
	"cant_delete_message":                      "the message can't be deleted by the app",
	"edit_window_closed":                       "the workspace does not allow to edit a message that is so old",
	"messages_tab_disabled":                    "turn on the Messages tab under App Home on the app's page",
	"restricted_action":                        "the workspace does not let the app post here",
	"restricted_action_read_only_channel":      "the channel is read-only",
	"restricted_action_thread_only_channel":    "the channel takes replies only",
	"restricted_action_non_threadable_channel": "the channel takes no replies",
	"restricted_action_thread_locked":          "the thread is locked",
	"ekm_access_denied":                        "the workspace's admins have stopped messages to this channel",
	"team_access_not_granted":                  "the app has no access to this workspace",
	"msg_too_long":                             "the message is too long for Slack",
	"msg_blocks_too_long":                      "the message's cards are too long for Slack",
	"invalid_blocks":                           "Slack does not take a card or a button of this message",
	"invalid_blocks_format":                    "Slack does not take a card or a button of this message",
	"metadata_must_be_sent_from_app":           "this token is not an app's: configure the bot's token, xoxb-...",
	"storage_limit_reached":                    "the workspace has no room for files",
}

// passing are the words after which Slack may or may not have done what it was
// asked to.
var passing = map[string]bool{
	"internal_error": true, "fatal_error": true, "request_timeout": true, "service_unavailable": true,
	"team_added_to_org": true, "org_login_required": true, "messaging_processing_failed": true,
}

// refusal returns Slack's word for a refusal, "" for anything else.
func refusal(err error) string {
	var said api.SlackErrorResponse
	if errors.As(err, &said) {
		return said.Err
	}
	return ""
}

// meaning makes a fault of what a call came back with, in channel.Poster's
// sense: nothing of it holds a token or an address.
func meaning(err error) error {
	var (
		limited *api.RateLimitedError
		said    api.SlackErrorResponse
		status  api.StatusCodeError
		dial    *net.OpError
		syntax  *json.SyntaxError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limited):
		return fault.New(fault.Limited, "Slack takes no more for the moment").After(max(limited.RetryAfter, time.Second))
	case errors.As(err, &said):
		return meant(said)
	case errors.As(err, &status) && status.Code == http.StatusTooManyRequests:
		return fault.New(fault.Limited, "Slack takes no more for the moment").After(10 * time.Second)
	case errors.As(err, &status) && status.Code >= 500:
		return fault.New(fault.Internal, "Slack answered with status %d", status.Code)
	case errors.As(err, &status):
		return fault.New(fault.Unavailable, "something before Slack answered with status %d; is the address of the API right?", status.Code)
	case errors.As(err, &dial) && dial.Op == "dial":
		return fault.New(fault.Unavailable, "Slack can't be reached")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isTimeout(err):
		return fault.New(fault.Timeout, "Slack did not answer in time")
	case errors.As(err, &syntax):
		return fault.New(fault.Internal, "Slack's answer is no JSON")
	}
	return fault.New(fault.Internal, "the connection to Slack broke")
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

func meant(said api.SlackErrorResponse) error {
	word := said.Err
	words, known := refusals[word]
	switch {
	case word == "ratelimited" || word == "rate_limited" || word == "message_limit_exceeded":
		return fault.New(fault.Limited, "Slack takes no more for the moment").After(10 * time.Second)
	case passing[word]:
		return fault.New(fault.Internal, "Slack failed (%s)", word)
	case known:
		return fault.New(fault.Forbidden, "%s (%s)", words, word)
	case word == "missing_scope" && plainWord(said.Needed):
		return fault.New(fault.Forbidden, "the app needs the scope %s: add it on the app's page under OAuth & Permissions and install the app again", said.Needed)
	case plainWord(word):
		return fault.New(fault.Invalid, "Slack refused it: %s", word)
	}
	return fault.New(fault.Invalid, "Slack refused it")
}

// plainWord keeps foreign text out of our words.
func plainWord(s string) bool {
	return s != "" && len(s) <= 80 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_:.,") == ""
}

// paces keeps one account below what Slack allows it in a workspace, so that
// answers which are still growing don't use up what those need that are done.
type paces struct{ starts, appends, updates, statuses *channel.Limiter }

func newPaces() paces {
	perMinute := func(n float64, burst int) *channel.Limiter { return channel.NewLimiter(n/60, burst, 0) }
	return paces{
		starts:   perMinute(18, 6),  // chat.startStream, tier 2: 20
		appends:  perMinute(90, 15), // chat.appendStream, tier 4: 100
		updates:  perMinute(40, 8),  // chat.update, tier 3: 50
		statuses: perMinute(40, 8),
	}
}
