package emailer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sesv2"
	"github.com/aws/aws-sdk-go-v2/service/sesv2/types"
	"github.com/aws/smithy-go"

	"selvedge.dev/sdk/fault"
)

// ses sends e-mails by Amazon SES. The one call of the client is kept, not the
// client: that would have the linker keep all of its hundred.
type ses struct {
	send func(context.Context, *sesv2.SendEmailInput, ...func(*sesv2.Options)) (*sesv2.SendEmailOutput, error)
}

// newSES is the provider at a URL.
func newSES(ctx context.Context, u *url.URL) (Provider, error) {
	if u.Host == "" {
		return nil, wrong(errors.New("ses://REGION names the region"))
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(u.Host),
		// The broker tries again, and knows when.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if u.User != nil {
		secret, _ := u.User.Password()
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(u.User.Username(), secret, "")))
	}
	endpoint := u.Query().Get("endpoint")
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, wrong(err)
	}
	return &ses{send: sesv2.NewFromConfig(c, func(o *sesv2.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}).SendEmail}, nil
}

// Send implements [Provider].
func (p *ses) Send(ctx context.Context, m Mail) error {
	var raw bytes.Buffer
	if _, err := m.Message.WriteTo(&raw); err != nil {
		return refuse(fault.Invalid, "MALFORMED_EMAIL", "", err)
	}
	_, err := p.send(ctx, &sesv2.SendEmailInput{
		Content:     &types.EmailContent{Raw: &types.RawMessage{Data: raw.Bytes()}},
		Destination: &types.Destination{ToAddresses: m.To},
	})
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && refusals[api.ErrorCode()]:
		return &fault.Error{Op: "emailer.SES", Kind: fault.Invalid, Reason: "REFUSED_BY_SERVER", Err: fmt.Errorf("SES refuses the e-mail: %w", err)}
	}
	return &fault.Error{Op: "emailer.SES", Kind: fault.Unavailable, Reason: "SERVER_AWAY", Err: fmt.Errorf("SES does not take the e-mail now: %w", err)}
}

// refusals are the codes of SES that are about the e-mail. All others are about
// the account, its quota and its keys, or about SES, and may pass.
var refusals = map[string]bool{
	"MessageRejected": true, "BadRequestException": true, "NotFoundException": true, "MailFromDomainNotVerifiedException": true, "ValidationException": true,
}
