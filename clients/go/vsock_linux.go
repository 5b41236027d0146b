package denclave

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"
)

const afVsock = 40

// sockaddrVM is struct sockaddr_vm of linux/vm_sockets.h.
type sockaddrVM struct {
	family   uint16
	reserved uint16
	port     uint32
	cid      uint32
	zero     [4]byte
}

// dialVsock connects a stream socket, which the standard library's net does not know.
func dialVsock(ctx context.Context, cid, port uint32) (stream, error) {
	fd, err := syscall.Socket(afVsock, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), fmt.Sprintf("vsock:%d:%d", cid, port))
	to := sockaddrVM{family: afVsock, port: port, cid: cid}
	_, _, begun := syscall.Syscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&to)), unsafe.Sizeof(to))
	if begun != 0 && begun != syscall.EINPROGRESS {
		_ = file.Close()
		return nil, begun
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := connected(file); err != nil {
		_ = file.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return file, nil
}

// connected waits until a socket is writable, and gives its error.
func connected(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var problem error
	isFirst := true
	err = raw.Write(func(fd uintptr) bool {
		if isFirst {
			// A socket that is not connected yet is not writable.
			isFirst = false
			_, err := syscall.Getpeername(int(fd))
			return !errors.Is(err, syscall.ENOTCONN)
		}
		number, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ERROR)
		if problem = err; err == nil && number != 0 {
			problem = syscall.Errno(number)
		}
		return true
	})
	if err != nil {
		return err
	}
	return problem
}
