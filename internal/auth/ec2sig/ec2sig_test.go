package ec2sig

import "testing"

// TestPublished checks the signatures of examples that Amazon publishes.
func TestPublished(t *testing.T) {
	v2 := Request{Verb: "GET", Host: "elasticmapreduce.amazonaws.com", Path: "/", Params: map[string]string{"Action": "DescribeJobFlows", "Version": "2009-03-31",
		"AWSAccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SignatureVersion": "2", "SignatureMethod": "HmacSHA256", "Timestamp": "2011-10-03T15:19:30"}}
	if got, want := v2.V2("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"), "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs="; got != want {
		t.Errorf("version 2: %s, expected %s", got, want)
	}
	v4 := Request{Verb: "GET", Host: "iam.amazonaws.com", Path: "/", Params: map[string]string{"Action": "ListUsers", "Version": "2010-05-08"}, Headers: map[string]string{
		"X-Amz-Date": "20150830T123600Z", "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
		"Authorization": "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"}}
	got, err := v4.V4("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
	if err != nil || got != v4.Signature() {
		t.Errorf("version 4: %s, %v, expected %s", got, err, v4.Signature())
	}
	if v4.Access() != "AKIDEXAMPLE" || v2.Access() != "AKIAIOSFODNN7EXAMPLE" {
		t.Errorf("access keys %q and %q", v4.Access(), v2.Access())
	}
}

// TestValid wants every part of a request to count.
func TestValid(t *testing.T) {
	r := Request{Verb: "POST", Host: "10.0.0.1:8088", Path: "/a b", Params: map[string]string{"SignatureVersion": "2", "x": "~*+ "}}
	sig := r.V2("secret")
	if !r.Valid("secret", sig) {
		t.Error("its own signature does not fit")
	}
	noPort := r
	noPort.Host = "10.0.0.1"
	if !r.Valid("secret", noPort.V2("secret")) {
		t.Error("a host signed without its port must fit")
	}
	for name, other := range map[string]Request{"verb": {Verb: "PUT", Host: r.Host, Path: r.Path, Params: r.Params}, "path": {Verb: r.Verb, Host: r.Host, Path: "/ab", Params: r.Params},
		"host": {Verb: r.Verb, Host: "10.0.0.2", Path: r.Path, Params: r.Params}, "parameters": {Verb: r.Verb, Host: r.Host, Path: r.Path, Params: map[string]string{"SignatureVersion": "2", "x": "~*+"}}} {
		if other.Valid("secret", sig) {
			t.Errorf("the signature fits another %s", name)
		}
	}
	if r.Valid("secret2", sig) {
		t.Error("the signature fits another secret")
	}
}

func FuzzAuthorization(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=x", "GET")
	f.Fuzz(func(_ *testing.T, header, verb string) {
		r := Request{Verb: verb, Headers: map[string]string{"Authorization": header}, Params: map[string]string{}}
		_, _ = r.V4("s")
		_, _ = r.Access(), r.Signature()
	})
}
