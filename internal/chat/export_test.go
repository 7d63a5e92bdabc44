package chat

import "context"

// DropUnnamed is what the service does when it starts.
func (s *Service) DropUnnamed(ctx context.Context) error { return s.dropUnnamed(ctx, 1<<62) }
