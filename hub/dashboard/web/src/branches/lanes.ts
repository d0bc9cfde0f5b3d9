import type { Branch } from '../feed/protocol'

/**
 * Branches as lines over time, like tracks that leave a trunk: x is time, y a lane. A lane is used again once its
 * branch has ended, so three hundred short attempts at four at a time need four lanes, not three hundred.
 */

export interface Track {
  branch: Branch
  lane: number
  from: number // pixels
  to: number
  parentLane: number
  open: boolean
}

export interface Pause { x: number; seconds: number }

export interface Layout { tracks: Track[]; lanes: number; width: number; pauses: Pause[]; ticks: { x: number; at: number }[] }

const EDGE = 28 // pixels left and right of the first and last thing
const GAP = 7 // pixels between two branches on one lane
const PAUSE_WIDTH = 34
const LONG_PAUSE = 0.12 // share of the whole time in which nothing happened that is worth cutting out

const TICK_EVERY = 130 // pixels, at least
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600]

export function layout(branches: Branch[], root: string, now: number, width: number): Layout {
  const sorted = branches.toSorted((a, b) => (a.created_at ?? 0) - (b.created_at ?? 0))
  const known = new Set(sorted.map((branch) => branch.id))
  const spans = sorted.filter((branch) => branch.id !== root).map((branch) => span(branch, now))
  const time = timeScale(spans.length ? spans : [[now - 30, now]], width)

  const lanes = new Map<string, number>([[root, 0]])
  const freeFrom: number[] = [Infinity] // the trunk is always taken
  const tracks: Track[] = []
  for (const branch of sorted) {
    if (branch.id === root) continue
    const parentLane = lanes.get(branch.parent ?? '') ?? 0
    const [start, end] = span(branch, now)
    const from = time.x(start)
    const to = Math.max(time.x(end), from + 4)
    let lane = parentLane + 1
    while ((freeFrom[lane] ?? -Infinity) > from) lane++
    freeFrom[lane] = to + GAP
    lanes.set(branch.id, lane)
    if (!branch.parent || known.has(branch.parent) || branch.parent === root) {
      tracks.push({ branch, lane, from, to, parentLane, open: branch.state === 'open' })
    }
  }
  return { tracks, lanes: freeFrom.length, width: time.width, pauses: time.pauses, ticks: time.ticks }
}

function span(branch: Branch, now: number): [number, number] {
  const start = branch.created_at ?? now
  return [start, Math.max(start, branch.ended_at ?? (branch.state === 'open' ? now : start))]
}

/** Time to pixels, with long pauses cut to a mark of a fixed width. */
function timeScale(spans: [number, number][], width: number) {
  const busy: [number, number][] = []
  for (const [from, to] of spans.toSorted((a, b) => a[0] - b[0])) {
    const last = busy.at(-1)
    if (last && from <= last[1]) last[1] = Math.max(last[1], to)
    else busy.push([from, to])
  }
  const whole = busy.at(-1)![1] - busy[0]![0] || 1
  const parts: [number, number][] = []
  for (const [from, to] of busy) {
    const last = parts.at(-1)
    if (last && from - last[1] < Math.max(whole * LONG_PAUSE, 5)) last[1] = to
    else parts.push([from, to])
  }
  const seconds = parts.reduce((sum, [from, to]) => sum + to - from, 0) || 1
  const room = Math.max(width - 2 * EDGE - (parts.length - 1) * PAUSE_WIDTH, 60)
  const perSecond = room / seconds
  const pauses: Pause[] = []
  const ticks: { x: number; at: number }[] = []
  const starts: number[] = []
  let x = EDGE
  parts.forEach(([from, to], i) => {
    if (i > 0) {
      pauses.push({ x: x + PAUSE_WIDTH / 2, seconds: from - parts[i - 1]![1] })
      x += PAUSE_WIDTH
    }
    starts.push(x)
    const step = STEPS.find((s) => s * perSecond > TICK_EVERY) ?? 86400
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push({ x: x + (at - from) * perSecond, at })
    x += (to - from) * perSecond
  })
  return {
    width: x + EDGE,
    pauses,
    ticks,
    x(at: number): number {
      let i = parts.findIndex(([, to]) => at <= to)
      if (i < 0) i = parts.length - 1
      const [from, to] = parts[i]!
      return starts[i]! + (Math.min(Math.max(at, from), to) - from) * perSecond
    },
  }
}
