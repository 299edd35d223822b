package messenger

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
)

// topic sends messages by Amazon SNS. The one call of the client is kept, not the
// client: that would have the linker keep all of them.
type topic struct {
	publish func(context.Context, *sns.PublishInput, ...func(*sns.Options)) (*sns.PublishOutput, error)
	from    string
}

// newSNS is the provider at a URL.
func newSNS(ctx context.Context, u *url.URL, from string) (Provider, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(u.Host),
		// The broker tries again, and knows when.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
	}
	if u.User != nil {
		secret, _ := u.User.Password()
		options = append(options, config.WithCredentialsProvider(credentials.NewStaticCredentialsProvider(u.User.Username(), secret, "")))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, wrong(err)
	}
	return &topic{from: from, publish: sns.NewFromConfig(c, func(o *sns.Options) {
		if endpoint := u.Query().Get("endpoint"); endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
	}).Publish}, nil
}

// Send implements [Provider]. SNS has nothing to know a message again by.
func (p *topic) Send(ctx context.Context, m Message) error {
	in := &sns.PublishInput{PhoneNumber: &m.To, Message: &m.Text}
	if p.from != "" {
		in.MessageAttributes = map[string]types.MessageAttributeValue{
			"AWS.SNS.SMS.SenderID": {DataType: aws.String("String"), StringValue: &p.from},
		}
	}
	_, err := p.publish(ctx, in)
	var api smithy.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &api) && refusals[api.ErrorCode()]:
		return refused(fmt.Errorf("SNS refuses the message: %w", err))
	}
	return away(fmt.Errorf("SNS does not take the message now: %w", err))
}

// refusals are the codes of SNS that are about the message. All others are about
// the account and its quota, or about SNS, and may pass.
var refusals = map[string]bool{"InvalidParameter": true, "InvalidParameterValue": true, "ParameterValueInvalid": true, "OptedOut": true, "ValidationException": true, "ValidationError": true}
