package postgres

// Abandon frees what the store holds in this process, as the end of the process
// would, and gives nothing back.
func (s *Store) Abandon() {
	s.disconnect()
	s.appends.close()
	s.rejects.close()
}
