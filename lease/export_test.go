package lease

// The queries of Walk, to be explained.
const (
	PageEndSQL = pageEndSQL
	PageSQL    = pageSQL
)
