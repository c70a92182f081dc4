// Package plugins is the contract for target databases.
//
// A plugin makes, changes and drops users. It does not choose a name: the caller chose it and recorded it before. Each
// database has a package below this one; plugintest holds the suite that all of them pass. Package external runs other people's
// plugins, and those may have their own mind about names: see [Namer].
package plugins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leasehold/internal/secret"
)

// Driver opens databases of one kind. It has no state.
type Driver interface {
	// Open checks the settings and prepares a pool. It does not connect. Errors are safe to show: they name the
	// setting and never hold a secret.
	Open(s Settings) (Database, error)
	// Usernames says what names the database accepts, and how a name is made when nothing else is configured.
	Usernames() Usernames
	// CredentialTypes are the kinds of credential that a role may ask for: TypePassword, and whichever others the databases take.
	// Those that not all of the driver's databases take are told by a [Chooser].
	CredentialTypes() []string
}

// The kinds of credential. Source of the words: the public HTTP API, credential_type.
const (
	TypePassword    = "password"
	TypeRSA         = "rsa_private_key"    // an RSA key: the database knows the public half of it
	TypeCertificate = "client_certificate" // a certificate: the database knows who signed it, and its subject
)

// Settings are a connection's details as the operator wrote them, the password included. Values have the JSON types
// of the request: string, json.Number, bool, []any, map[string]any.
type Settings map[string]any

// Usernames are the limits of user names.
type Usernames struct {
	MaxLength int    // bytes; 0: no limit
	Cuts      bool   // the database cuts longer names by itself, when a user is made and when it logs in
	Template  string // Go template of the default name, in the language of username_template

	// Certified: a certificate lets in the user whose name is its common name, and no other.
	Certified bool
}

// Database is one configured target. Safe for concurrent use; calls run in parallel up to the pool's limit.
// Every error is an *Error.
type Database interface {
	// Verify connects and asks for a sign of life.
	Verify(ctx context.Context) error
	// CreateUser makes the user, all or nothing where the database's DDL allows it.
	CreateUser(ctx context.Context, u User) error
	// AlterUser changes the password or the expiry of a user.
	AlterUser(ctx context.Context, name string, c Change) error
	// DropUser removes the user. Nil is a post-condition: it looked, and the user is not there. With statements those
	// run instead of the plugin's own; it looks afterwards all the same.
	DropUser(ctx context.Context, name string, statements []string) error
	// MaxOpen is how many calls may run at once.
	MaxOpen() int
	Close() error
}

// GroupDropper is an optional ability: DropUser without statements for several users at once, for less than the sum. The answer
// has an error for each name, in their order; nil is the post-condition of DropUser. An error only says that this one is to
// be dropped by itself, unless it is Unreachable.
type GroupDropper interface {
	DropUsers(ctx context.Context, names []string) []error
}

// Lister is an optional ability: the names of the users whose names begin with a prefix.
type Lister interface {
	Users(ctx context.Context, prefix string) ([]string, error)
}

// Marker is an optional ability: the database keeps [User.Mark] with the user, in its own catalogue and until the user is
// dropped, so that whoever made a user can be told there. Making the user and marking it is one step where the database's DDL
// allows it. A user that cannot be marked, for want of a privilege, is made all the same.
type Marker interface {
	// Accounts calls each for every user of the server, whoever made it, or for those of the given names when there are
	// any, as they all are at one moment. The order is the database's own. A user made before the call and not dropped
	// before its end is among them.
	Accounts(ctx context.Context, names []string, each func(Account)) error
}

// Granter is an optional ability: what a user may do, in words of the database, for an operator who checks a role.
type Granter interface {
	// Grants are lines such as GRANT SELECT ON TABLE public.orders TO "v-1", without passwords or hashes of them, sorted by the
	// database or not at all. Where the plugin cannot see everything, a line that begins with "--" says so. A user that is not there
	// has none.
	Grants(ctx context.Context, name string) ([]string, error)
}

// Namer is an optional ability, and a burden: the database may call a user by another name than it is told, and what name that is
// stands in its answer alone. It also takes users without statements: what is to be done then is its own affair.
type Namer interface {
	// CreateNamed is CreateUser, and returns what the user is called. Its error is Unknown when a user may have been made whose
	// name is not known.
	CreateNamed(ctx context.Context, u User) (name string, err error)
	// Obeys reports whether the database is known, from users with that kind of credential that it made, to call a user of this name so.
	Obeys(name, credentialType string) bool
}

// Chooser is an optional ability: only when it is asked does a database tell which of its driver's credential types it takes.
type Chooser interface {
	Takes(ctx context.Context, credentialType string) (bool, error)
}

// MarkPrefix begins every mark: a plugin that has to share the place with other text finds it by that.
const MarkPrefix = "leasehold "

// Account is what the database's catalogue says of a user.
type Account struct {
	Name       string
	Mark       string    // as User.Mark was; empty: none
	Expiration time.Time // when the database itself refuses the login; zero: never
}

// User is a user to be made.
type User struct {
	Name       string
	Password   secret.Text // empty only with a Key
	Key        *Key        // takes the place of the password; nil, where the driver names no type but TypePassword
	Expiration time.Time   // when the database itself should refuse the login; zero: never
	Statements []string    // the role's creation statements; empty only for a [Namer]
	Mark       string      // what a [Marker] keeps with it: a line of printable ASCII that begins with MarkPrefix, no secret; empty: nothing
}

// Key is what a database is told of a user that logs in with a key. The private half is none of its business.
type Key struct {
	Type      string // TypeRSA or TypeCertificate
	PublicKey []byte // with TypeRSA: PKIX in PEM, "PUBLIC KEY"
	Subject   string // with TypeCertificate: the certificate's, as RFC 2253 writes it: CN=v-app-1
}

// Change is what AlterUser changes; zero fields are left alone.
type Change struct {
	Password   secret.Text
	Key        *Key // of TypeRSA
	Expiration time.Time
	Statements []string // the role's or connection's statements; empty: the plugin's own
}

// Class says what is known after a failed call.
type Class int

const (
	Unknown     Class = iota // it was sent and not answered: it may or may not have happened
	Unreachable              // nothing was sent
	Refused                  // the database answered no; nothing was changed; it may agree later
	Permanent                // the database answered no, and trying again is useless
)

func (c Class) String() string {
	return [...]string{"unknown", "unreachable", "refused", "permanent"}[c]
}

// Error is a failed call. Its text holds no password and no connection URL: the plugin took them out.
type Error struct {
	Op    string // what was being done: "create user", "connect"
	Class Class
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }
func (e *Error) Unwrap() error { return e.Err }

// A failed login is Unreachable: no statement was sent. Where the server answered it, the error of [Database.Verify] wraps one of these.
var (
	// ErrWrongPassword: the server does not know the user by this password.
	ErrWrongPassword = errors.New("the server does not know the user by this password")
	// ErrNotAdmitted: the server turned the user away for another reason, or does not say why: the password may be right.
	ErrNotAdmitted = errors.New("the server does not let the user in")
)

// ClassOf is the class of err, Unknown when it is not an *Error.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Unknown
}
