package chat

import "context"

// DropUnnamed is what the service does every hour.
func (s *Service) DropUnnamed(ctx context.Context) error { return s.dropUnnamed(ctx) }
