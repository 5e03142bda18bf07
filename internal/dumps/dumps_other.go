//go:build !unix

package dumps

// Off does nothing: Windows Error Reporting keeps dumps only where an administrator wants them.
func Off() error { return nil }
