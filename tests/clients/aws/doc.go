// Package aws runs the emailer and the messenger against Amazon SES and SNS as
// others have written them again, for Node: aws-ses-v2-local and the server of
// serverless-offline-sns. They read requests as the services do, and ask for no
// more of credentials than that there are any: that requests are signed rightly is
// shown beside the functions. Amazon itself is asked by nobody here.
//
// The packages and what they need are pinned in package-lock.json and installed
// once into the repository's cache folder; what serverless-offline-sns plugs into,
// and its server does not use, is left out. Without Node and npm the tests are
// skipped, or fail where SELVEDGE_REQUIRE_NODE says that they are to be there.
package aws
