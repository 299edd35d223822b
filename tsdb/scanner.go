package tsdb

import "context"

// Scanner is a Store that reads many series at once. A caller that has work to
// do on each series, such as aligning it, asks whether its Store is one.
type Scanner interface {
	// Scan is Select in two steps. work is called once for every series that
	// matches and has a point in the interval, by several goroutines at once;
	// the points are valid until it returns. What it returns is then given to
	// visit, from one goroutine, in ascending order of the series' keys.
	//
	// visit returns false to end the scan when it has enough: series of later
	// keys are not read then, but for some that are under way. The bounds of
	// the selection count what was read. An error of work or visit ends the
	// scan and is returned.
	Scan(ctx context.Context, sel Selection, work func(*Series, Points) (any, error), visit func(s *Series, made any) (bool, error)) error
}

// WindowScanner is a Scanner that remembers what windows came to. A caller whose
// work begins with the alignment of points asks whether its Scanner is one.
type WindowScanner interface {
	// ScanWindows is Scan of points that w has aligned, which may be kept but not
	// changed. Windows whose points are surely the same as when a scan with the
	// same w came by are not read again. read is how many points were read; the
	// bounds of the selection count those. The interval of the selection begins
	// and ends with a window.
	ScanWindows(ctx context.Context, sel Selection, w Windows, work func(s *Series, aligned Points, read int) (any, error), visit func(s *Series, made any) (bool, error)) error
}

// Windows says what becomes of the points of windows: (End-Period, End], the one
// before that, and so on.
type Windows struct {
	// Name tells one Of from another.
	Name        string
	End, Period Millis
	// Of makes of points one for each window, stamped with its end, or none: a
	// function of the series' kind and value type and of the points in that window
	// alone. Several goroutines call it at once.
	Of func(*Series, Points) Points
}

// Condition says that one of the fields of a series has one of some values.
type Condition struct {
	// Field says which field it is, Label the label's name if it is a label.
	Field ConditionField
	Label string
	// Values are those that it may have: at least one, and none is "".
	Values []string
}

// ConditionField is a field that a Condition can be about.
type ConditionField uint8

// The fields of conditions.
const (
	MetricType    ConditionField = iota // Series.Metric
	MetricLabel                         // one of Series.MetricLabels
	ResourceLabel                       // one of Series.ResourceLabels
)
