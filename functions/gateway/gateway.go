// Package gateway is the doors that only the platform's port has, beside those
// that sdk/gateway gives every program that serves something: to what was lost
// and to how the platform is.
package gateway
