package dispatch

import _ "go.etcd.io/bbolt"
