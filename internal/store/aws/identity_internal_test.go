package aws

import "testing"

// All endpoints of AWS lead to one place, so an identity does not name them. It
// names any other endpoint.
func TestForeignHost(t *testing.T) {
	for endpoint, want := range map[string]string{
		"": "",
		"https://secretsmanager.eu-central-1.amazonaws.com":                     "",
		"https://vpce-0a1b-2c3d.secretsmanager.eu-central-1.vpce.amazonaws.com": "",
		"https://secretsmanager-fips.us-gov-west-1.amazonaws.com":               "",
		"https://secretsmanager.us-east-1.api.aws":                              "",
		"https://secretsmanager.cn-north-1.amazonaws.com.cn":                    "",
		"https://secretsmanager.eusc-de-east-1.amazonaws.eu":                    "",
		"HTTPS://SecretsManager.eu-central-1.AmazonAWS.com.:443":                "",
		"http://localhost:4566":                                                 "localhost:4566",
		"https://amazonaws.com.evil":                                            "amazonaws.com.evil",
		"https://notamazonaws.com":                                              "notamazonaws.com",
		"https://Secrets.Example:8443":                                          "secrets.example:8443",
	} {
		if got := foreignHost(optional(endpoint)); got != want {
			t.Errorf("%s: %q, want %q", endpoint, got, want)
		}
	}
}

func TestAccountOf(t *testing.T) {
	for arn, want := range map[string]account{
		"arn:aws:sts::123456789012:assumed-role/credbus/credbus":                           {"aws", "123456789012"},
		"arn:aws-us-gov:secretsmanager:us-gov-west-1:210987654321:secret:credbus/x-AbCdEf": {"aws-us-gov", "210987654321"},
		"arn:aws:iam::123456789012:root":                                                   {"aws", "123456789012"},
		"arn:aws:sts:::assumed-role/credbus":                                               {},
		"arn:aws:sts::1234:user/x":                                                         {},
		"":                                                                                 {},
	} {
		if got, ok := accountOf(arn); got != want || ok != (want != account{}) {
			t.Errorf("%s: %v, %t", arn, got, ok)
		}
	}
}
