package emailer

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	gomail "github.com/wneessen/go-mail"

	emailerv1 "selvedge.dev/functions/emailer/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/render"
)

// Mail is an e-mail on its way, checked and filled in.
type Mail struct {
	// ID is the left part of its Message-ID.
	ID string
	// Message is it in the form of RFC 5322, To all who get it.
	Message *gomail.Msg
	To      []string
}

// maxRecipients bounds who one e-mail goes to: what SES takes.
const maxRecipients = 50

// address checks an address.
func address(field, text string) (*mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil || len(text) > 500 || strings.ContainsFunc(text, unicode.IsControl) {
		return nil, refuse(fault.Invalid, "INVALID_ADDRESS", field, fmt.Errorf("%.100q is not an address of e-mail", text))
	}
	return a, nil
}

// compose makes the e-mail that the last of some asks for, filled in with the
// data of all.
func compose(from, id string, emails ...*emailerv1.Email) (Mail, error) {
	email := emails[len(emails)-1]
	data := make([]any, len(emails))
	for i, e := range emails {
		data[i] = e.Data
	}
	values, err := render.New(data...)
	if err != nil {
		return Mail{}, err
	}
	sender, err := address("from", from)
	if err != nil {
		return Mail{}, err
	}
	_, domain, _ := strings.Cut(sender.Address, "@")
	m := Mail{ID: id, Message: gomail.NewMsg()}
	m.Message.FromMailAddress(sender)
	m.Message.SetMessageIDWithValue(id + "@" + domain)
	m.Message.SetDate()
	if err := m.recipients(email); err != nil {
		return Mail{}, err
	}
	subject, err := render.Text(email.Subject, values)
	if err != nil {
		return Mail{}, err
	}
	m.Message.Subject(oneLine(subject))
	if email.Text == "" && email.HTML == "" {
		return Mail{}, refuse(fault.Invalid, "MALFORMED_EMAIL", "text", errors.New("an e-mail has a text, or HTML"))
	}
	if email.Text != "" {
		text, err := render.Text(email.Text, values)
		if err != nil {
			return Mail{}, err
		}
		m.Message.SetBodyString(gomail.TypeTextPlain, text)
	}
	if email.HTML == "" {
		return m, nil
	}
	html, err := render.HTML(email.HTML, values)
	if err != nil {
		return Mail{}, err
	}
	if email.Text == "" {
		m.Message.SetBodyString(gomail.TypeTextHTML, html)
	} else {
		m.Message.AddAlternativeString(gomail.TypeTextHTML, html)
	}
	return m, nil
}

// recipients addresses the e-mail.
func (m *Mail) recipients(email *emailerv1.Email) error {
	if n := len(email.To) + len(email.Cc) + len(email.Bcc); n == 0 || n > maxRecipients {
		return refuse(fault.Invalid, "INVALID_ADDRESS", "to", fmt.Errorf("an e-mail goes to 1 to %d addresses, not %d", maxRecipients, n))
	}
	for _, field := range []struct {
		name string
		list []string
		set  func(...*mail.Address)
	}{{"to", email.To, m.Message.ToMailAddress}, {"cc", email.Cc, m.Message.CcMailAddress}, {"bcc", email.Bcc, m.Message.BccMailAddress}} {
		var all []*mail.Address
		for _, text := range field.list {
			a, err := address(field.name, text)
			if err != nil {
				return err
			}
			all = append(all, a)
			m.To = append(m.To, a.Address)
		}
		if len(all) > 0 {
			field.set(all...)
		}
	}
	if email.ReplyTo == "" {
		return nil
	}
	a, err := address("replyTo", email.ReplyTo)
	if err == nil {
		m.Message.ReplyToMailAddress(a)
	}
	return err
}

// oneLine is a text without ends of lines, and of a length that a header takes.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }), " ")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:199]) + "…"
	}
	return s
}
