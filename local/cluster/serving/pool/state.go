package pool

import "time"

// State is what a pool has.
type State struct {
	// Wanted is how many instances there should be, Ready how many take
	// requests.
	Wanted, Ready int
	// Failure is why an instance failed twice in a row; none once one was ready. A
	// failure that a restart made good is in Last of the instance.
	Failure   Failure
	Instances []InstanceState
}

// InstanceState is one instance.
type InstanceState struct {
	Name, Image string
	Phase       Phase
	// Draining is whether it takes no more requests and ends.
	Draining bool
	// Created is when the instance was made, Began when its process was started,
	// Ready since when it takes requests; zero if it was or does not.
	Created, Began, Ready time.Time
	Restarts              int
	// Last is how the process before ended, or why there was none.
	Last Failure
}

// State is what the pool has now.
func (p *Pool) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Wanted: p.wanted, Failure: p.failure}
	for _, i := range p.instances {
		if i.phase == Ready && !i.draining {
			s.Ready++
		}
		s.Instances = append(s.Instances, InstanceState{
			Name: i.name, Image: i.image, Phase: i.phase, Draining: i.draining,
			Created: i.created, Began: i.began, Ready: i.ready, Restarts: i.restarts, Last: i.last,
		})
	}
	return s
}
