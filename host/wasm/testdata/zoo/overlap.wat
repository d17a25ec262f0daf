;; Has the host read and write the same bytes: a path where the value goes, a
;; name where the header's value goes, a list of buffers that holds itself and
;; where the count is written. It answers with the codes and what it got.
;; Attacks: what the host writes never changes what it still has to read.
(module
  (import "postern1" "bytes" (func $bytes (param i32 i32 i32) (result i32)))
  (import "postern1" "view" (func $view (param i32 i32) (result i32)))
  (import "postern1" "get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "postern1" "header" (func $header (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  ;;common
  (memory (export "memory") 1)
  (data (i32.const 512) "{\22name\22:\22/other/and/longer\22}")
  (data (i32.const 768) "/name............................")
  (data (i32.const 896) "X-Overlap........................")
  (func $attack (param $left i64) (result i32)
    (drop (call $view (i32.const 1) (call $bytes (i32.const 0) (i32.const 512) (i32.const 28))))
    (i32.store (i32.const 256) (call $get (i32.const 0) (i32.const 768) (i32.const 5) (i32.const 769) (i32.const 30)))
    (i32.store (i32.const 260) (call $header (i32.const 896) (i32.const 9) (i32.const 0) (i32.const 895) (i32.const 30)))
    (i32.store (i32.const 1024) (i32.const 1024))
    (i32.store (i32.const 1028) (i32.const 16))
    (i32.store (i32.const 1032) (i32.const 1028))
    (i32.store (i32.const 1036) (i32.const 16))
    (i32.store (i32.const 264) (call $write (i32.const 1) (i32.const 1024) (i32.const 2) (i32.const 1028)))
    (i32.store (i32.const 268) (i32.load (i32.const 1028)))
    (memory.copy (i32.const 272) (i32.const 769) (i32.const 17))
    (memory.copy (i32.const 289) (i32.const 895) (i32.const 3))
    (call $answer (i32.const 256) (i32.const 36))))
