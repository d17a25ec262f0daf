;; Imports the function by which metered code yields: it could have its budget
;; filled, or its neighbours stopped.
;; Attacks: the check of imports, before the meter's own is added.
(module
  (import "postern.meter" "yield" (func $yield))
  ;;common
  (memory (export "memory") 1)
  (func $attack (param $left i64) (result i32)
    (loop $again
      (call $yield)
      ;;again
    )
    (i32.const 4)))
