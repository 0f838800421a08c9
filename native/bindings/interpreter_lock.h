// The interpreter lock, given up or taken for a scope: nanobind's scopes, but for the end of the process.
//
// A thread that asks for the lock while the interpreter ends (a daemon thread, after a signal) is ended by
// CPython before 3.14 with pthread_exit, which unwinds the stack. That must not leave a destructor:
// std::terminate would abort a process that is over. Such a thread waits here instead until the process is
// gone, as it does in CPython itself from 3.14 on.
#pragma once

#include <nanobind/nanobind.h>
#include <unistd.h>

namespace qecpipe::bindings {

[[noreturn]] inline void wait_for_the_end() {
    for (;;) pause();
}

// Gives the lock up. What it is around must not touch Python.
class InterpreterReleased {
  public:
    InterpreterReleased() : state_(PyEval_SaveThread()) {}
    InterpreterReleased(const InterpreterReleased&) = delete;
    ~InterpreterReleased() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {  // only pthread_exit: a C function throws nothing
            wait_for_the_end();
        }
    }

  private:
    PyThreadState* const state_;
};

// Takes the lock, in any thread, whether it has it or not.
class InterpreterHeld {
  public:
    InterpreterHeld() : state_(take()) {}
    InterpreterHeld(const InterpreterHeld&) = delete;
    ~InterpreterHeld() { PyGILState_Release(state_); }

  private:
    static PyGILState_STATE take() {
        try {
            return PyGILState_Ensure();
        } catch (...) {  // as above
            wait_for_the_end();
        }
    }

    const PyGILState_STATE state_;
};

}  // namespace qecpipe::bindings
