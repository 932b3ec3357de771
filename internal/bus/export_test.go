package bus

import "time"

// ReplyBound is how long a reply to a tool's request may take to pass the border of
// the accounts.
func (b *Bus) ReplyBound() (time.Duration, error) {
	account, err := b.srv.LookupAccount(outsideAccount)
	if err != nil {
		return 0, err
	}
	return account.ServiceExportResponseThreshold("toolhand.tool.>")
}
