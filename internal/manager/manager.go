package manager

// Config holds the parts and settings of a Manager. The Config of each part is
// documented with its type.
type Config struct {
	RecordsConfig
	ReaderConfig
	WriterConfig
	MaintainerConfig
}

// Manager carries out commands. Its methods may be called concurrently.
type Manager struct {
	*Reader
	*Writer
	*Maintainer
}

// New checks config and returns a Manager.
func New(config Config) (*Manager, error) {
	records, err := newRecords(config.RecordsConfig)
	if err != nil {
		return nil, err
	}
	writer := newWriter(records, config.WriterConfig)
	return &Manager{newReader(records, config.ReaderConfig), writer, newMaintainer(records, writer, config.MaintainerConfig)}, nil
}
