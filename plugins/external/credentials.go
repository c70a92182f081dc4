package external

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"leasehold/plugins"
)

// credentialNumbers are the protocol's. Source: the published protocol, CredentialType.
var credentialNumbers = map[string]int32{plugins.TypePassword: 0, plugins.TypeRSA: 1, plugins.TypeCertificate: 2}

// announced are the credential types that a plugin names in its answer to Initialize.
// Source: the published protocol, "supported_credential_types".
func announced(answer *structpb.Struct) (types []string) {
	for _, v := range answer.GetFields()["supported_credential_types"].GetListValue().GetValues() {
		types = append(types, v.GetStringValue())
	}
	return types
}

// takes reports whether the program takes that kind of credential: a password, or what it has announced. One that has not, and is asked
// for a user with a key, would not notice, and make one whose password is empty.
func (p *process) takes(credentialType string) bool {
	return credentialType == plugins.TypePassword || slices.Contains(p.types, credentialType)
}

// demand is takes for a call that is about to be made.
func (p *process) demand(credentialType string) error {
	if p.takes(credentialType) {
		return nil
	}
	return status.Errorf(codes.InvalidArgument, "the plugin does not take credential_type %q", credentialType)
}
