package devices

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	devicesv1 "selvedge.dev/functions/devices/v1"
	"selvedge.dev/sdk/fault"
	"selvedge.dev/sdk/policy"
	"selvedge.dev/sdk/resource"
	"selvedge.dev/sdk/store"
)

// Import takes over the devices and blueprints of the registry that was in this
// database before, if it was there, and then removes it. One that is in the
// store already was taken over before.
func (s *Service) Import(ctx context.Context, db *sql.DB) error {
	var there int
	err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE name = 'devices_resource'`).Scan(&there)
	if err != nil || there == 0 {
		return err
	}
	bodies, err := oldBodies(ctx, db)
	if err != nil {
		return fmt.Errorf("import devices: %w", err)
	}
	for _, body := range bodies {
		if err := s.importOne(ctx, body); err != nil {
			return fmt.Errorf("import devices: %w", err)
		}
	}
	s.log.InfoContext(ctx, "devices and blueprints were taken over", slog.Int("count", len(bodies)))
	for _, table := range []string{"devices_alias", "devices_resource"} {
		if _, err := db.ExecContext(ctx, `DROP TABLE IF EXISTS `+table); err != nil {
			return fmt.Errorf("import devices: %w", err)
		}
	}
	return nil
}

// oldBodies are all resources, blueprints before the devices that use them.
func oldBodies(ctx context.Context, db *sql.DB) ([][]byte, error) {
	rows, err := db.QueryContext(ctx, `SELECT body FROM devices_resource ORDER BY name LIKE '%/devices/%', name`)
	if err != nil {
		return nil, err
	}
	var bodies [][]byte
	for rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		bodies = append(bodies, body)
	}
	return bodies, errors.Join(rows.Err(), rows.Close())
}

// importOne makes the resource of a body.
func (s *Service) importOne(ctx context.Context, body []byte) error {
	var head struct {
		Name resource.Name `json:"name"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return err
	}
	var m proto.Message = &devicesv1.Device{}
	if head.Name.Collection() == s.blueprint.Plural {
		m = &devicesv1.Blueprint{}
	}
	// The times are kept elsewhere now, and begin anew.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, m); err != nil {
		return err
	}
	err := s.save(ctx, head.Name, m)
	if fault.KindOf(err) == fault.Exists && fault.ReasonOf(err) != "ALREADY_TAKEN" {
		return nil
	}
	return err
}

// save creates an object on behalf of the platform.
func (s *Service) save(ctx context.Context, name resource.Name, m proto.Message) error {
	if s.options.Service.Policies != nil {
		follows, err := s.options.Service.Policies.For(ctx, name)
		if err != nil {
			return err
		}
		ctx = policy.With(ctx, follows)
	}
	return s.store.Run(ctx, store.Transaction, func(ctx context.Context) error {
		return s.store.Save(ctx, m, store.SaveOptions{Create: true})
	})
}
