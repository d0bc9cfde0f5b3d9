import type { Attempt, Task } from '../feed/protocol'

/** Seconds to pixels. */
export interface Scale { from: number; to: number; width: number }

export const x = (scale: Scale, at: number): number => ((at - scale.from) / (scale.to - scale.from)) * scale.width

export interface Bar {
  kind: 'wait' | 'run'
  from: number
  to: number
  tone: string // a state tone
  open: boolean // goes on
  label: string
}

const ENDED = new Set(['completed', 'failed', 'canceled', 'rejected'])
export const ended = (task: Task): boolean => ENDED.has(task.state)

/** When a task ended; `now` while it has not. */
export function endOf(task: Task, now: number): number {
  return ended(task) ? task.updated_at : now
}

/** What a task's row shows: waiting as a thin line, every attempt as a bar in the colour of its outcome. */
export function bars(task: Task, now: number): Bar[] {
  const found: Bar[] = []
  let free = task.created_at
  for (const attempt of task.attempts) {
    if (attempt.assigned_at > free) found.push(wait(free, attempt.assigned_at, false))
    const to = attempt.ended_at ?? (ended(task) ? task.updated_at : now)
    const open = attempt.ended_at === undefined && !ended(task)
    found.push({ kind: 'run', from: attempt.assigned_at, to, tone: outcome(task, attempt), open, label: labelOf(attempt, to) })
    free = to
  }
  if (!ended(task) && task.state === 'submitted') found.push(wait(free, now, true))
  return found
}

function wait(from: number, to: number, open: boolean): Bar {
  return { kind: 'wait', from, to, tone: 'idle', open, label: 'waiting' }
}

function outcome(task: Task, attempt: Attempt): string {
  if (attempt.state === 'lost') return 'warn'
  if (attempt.state === 'refused') return 'idle'
  if (attempt.state !== 'ended') return 'run'
  if (attempt.error) return 'bad'
  const last = attempt === task.attempts.at(-1)
  return !last ? 'bad' : task.state === 'canceled' ? 'idle' : task.state === 'failed' ? 'bad' : 'ok'
}

function labelOf(attempt: Attempt, to: number): string {
  const took = (to - attempt.assigned_at).toFixed(2)
  return `attempt ${attempt.number} on ${attempt.runner}, ${took} s${attempt.error ? `: ${attempt.error.message}` : ''}`
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 86400]

/** Round times, about 110 pixels apart. */
export function ticks(scale: Scale): { x: number; at: number; label: string }[] {
  const wanted = ((scale.to - scale.from) / Math.max(scale.width, 1)) * 110
  const step = STEPS.find((s) => s >= wanted) ?? 86400
  const found = []
  const options: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit' }
  if (step < 60) options.second = '2-digit'
  for (let at = Math.ceil(scale.from / step) * step; at <= scale.to; at += step) {
    const fraction = step < 1 ? `.${Math.round((at % 1) * 10) % 10}` : ''
    found.push({ x: x(scale, at), at, label: new Date(at * 1000).toLocaleTimeString('en-GB', options) + fraction })
  }
  return found
}
