// Package s3 is the target of an export in a bucket of Amazon S3, or of a
// server that speaks its protocol. Files are made on the condition that there
// is none of the name, which needs a server that knows If-None-Match. A bucket
// with object lock keeps them from everybody, the platform included.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"selvedge.dev/logstore/audit/archive"
	"selvedge.dev/sdk/fault"
)

// maxObject bounds what is read: more than a file of an export ever has.
const maxObject = 256 << 20

// API is what is needed of an *s3.Client.
type API interface {
	PutObject(ctx context.Context, in *s3.PutObjectInput, with ...func(*s3.Options)) (*s3.PutObjectOutput, error)
	GetObject(ctx context.Context, in *s3.GetObjectInput, with ...func(*s3.Options)) (*s3.GetObjectOutput, error)
	ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input, with ...func(*s3.Options)) (*s3.ListObjectsV2Output, error)
}

var (
	_ API            = (*s3.Client)(nil)
	_ archive.Target = (*Bucket)(nil)
)

// Bucket is a bucket, or what is below a prefix in one.
type Bucket struct {
	api          API
	name, prefix string
}

// New is the bucket of that name; prefix is "" or what the names of all objects
// begin with, without a slash at its end.
func New(api API, name, prefix string) *Bucket {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return &Bucket{api: api, name: name, prefix: prefix}
}

// Create implements archive.Target.
func (b *Bucket) Create(ctx context.Context, name string, data []byte) error {
	return b.put(ctx, name, data, aws.String("*"))
}

// Replace implements archive.Target.
func (b *Bucket) Replace(ctx context.Context, name string, data []byte) error {
	return b.put(ctx, name, data, nil)
}

// put writes an object.
func (b *Bucket) put(ctx context.Context, name string, data []byte, unless *string) error {
	_, err := b.api.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &b.name, Key: aws.String(b.prefix + name), Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))), IfNoneMatch: unless,
	})
	return b.fault("put", name, err)
}

// Get implements archive.Target.
func (b *Bucket) Get(ctx context.Context, name string) ([]byte, error) {
	out, err := b.api.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.name, Key: aws.String(b.prefix + name)})
	if err != nil {
		return nil, b.fault("get", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err = errors.Join(err, out.Body.Close()); err == nil && len(data) > maxObject {
		err = &fault.Error{Kind: fault.TooLarge, Err: fmt.Errorf("more than %d bytes", maxObject)}
	}
	return data, b.fault("get", name, err)
}

// List implements archive.Target. S3 lists in the order of bytes.
func (b *Bucket) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: aws.String(b.prefix + prefix)}
		for {
			out, err := b.api.ListObjectsV2(ctx, in)
			if err != nil {
				yield("", b.fault("list", prefix, err))
				return
			}
			for _, o := range out.Contents {
				if !yield(strings.TrimPrefix(aws.ToString(o.Key), b.prefix), nil) {
					return
				}
			}
			if !aws.ToBool(out.IsTruncated) {
				return
			}
			in.ContinuationToken = out.NextContinuationToken
		}
	}
}

// fault translates what the server says.
func (b *Bucket) fault(verb, name string, err error) error {
	if err == nil {
		return nil
	}
	kind := fault.Unavailable
	var missing *types.NoSuchKey
	var said smithy.APIError
	if errors.As(err, &said) {
		switch said.ErrorCode() {
		case "PreconditionFailed", "ConditionalRequestConflict":
			kind = fault.Exists
		case "NoSuchKey", "NotFound", "NoSuchBucket":
			kind = fault.NotFound
		case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
			kind = fault.Denied
		}
	}
	if errors.As(err, &missing) {
		kind = fault.NotFound
	}
	if k := fault.KindOf(err); k == fault.TooLarge {
		kind = k
	}
	return &fault.Error{Op: "s3." + verb, Name: "s3://" + b.name + "/" + b.prefix + name, Kind: kind, Err: err}
}

// Open is the bucket of a URL, s3://BUCKET or s3://BUCKET/PREFIX, with the
// credentials and the region of the environment and the files that all tools of
// AWS read. endpoint is another server's URL, "" for Amazon's.
func Open(ctx context.Context, place, endpoint string) (*Bucket, error) {
	u, err := url.Parse(place)
	if err != nil || u.Scheme != "s3" || u.Host == "" {
		return nil, &fault.Error{Op: "s3.Open", Name: place, Kind: fault.Invalid, Err: fmt.Errorf("%q is not s3://BUCKET/PREFIX", place)}
	}
	c, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, &fault.Error{Op: "s3.Open", Name: place, Kind: fault.Invalid, Err: err}
	}
	return New(s3.NewFromConfig(c, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint, o.UsePathStyle = &endpoint, true
		}
		if o.Region == "" {
			o.Region = "us-east-1" // which servers of others take, and Amazon corrects
		}
	}), u.Host, u.Path), nil
}
