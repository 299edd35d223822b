// The module of a project of this template, which has the packages of Selvedge
// that it imports beside its own: make templates writes it.
module selvedge.dev

go 1.26.6
