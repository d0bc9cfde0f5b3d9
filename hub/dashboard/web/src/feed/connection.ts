import type { Frame } from './protocol'

export type Status = 'connecting' | 'live' | 'lost' | 'refused'

const FIRST_RETRY_MS = 300
const LONGEST_RETRY_MS = 5000
const SILENCE_MS = 8000 // the hub sends four frames a second

/**
 * One WebSocket that comes back by itself. Tells every frame in order; a hole in the numbers asks for a snapshot.
 * Refused means that the session is over: only a new sign-in helps, so it stops trying.
 */
export class Connection {
  private socket: WebSocket | undefined
  private retryMs = FIRST_RETRY_MS
  private silence = 0
  private seq = -1

  constructor(
    private readonly onFrame: (frame: Frame) => void,
    private readonly onStatus: (status: Status) => void,
  ) {}

  open(): void {
    const url = new URL('api/v1/feed', document.baseURI)
    url.protocol = url.protocol.replace('http', 'ws')
    url.hash = ''
    const socket = new WebSocket(url)
    this.socket = socket
    this.seq = -1
    socket.onopen = () => {
      socket.send(JSON.stringify({ type: 'hello' }))
      this.watchForSilence()
    }
    socket.onmessage = (message) => {
      this.watchForSilence()
      this.take(JSON.parse(message.data as string) as Frame)
    }
    socket.onclose = () => {
      clearTimeout(this.silence)
      if (this.socket === socket) void this.closed()
    }
  }

  /** Something was changed past the bus: the hub need not wait for its next look. */
  refresh(): void {
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: 'refresh' }))
  }

  private take(frame: Frame): void {
    if (frame.type === 'snapshot') {
      this.retryMs = FIRST_RETRY_MS
      this.onStatus('live')
    } else if (frame.type === 'delta' && frame.seq !== this.seq + 1) {
      if (this.seq >= 0) this.socket?.send(JSON.stringify({ type: 'resync' }))
      this.seq = -1
      return
    }
    if (frame.type !== 'missed') this.seq = frame.seq
    this.onFrame(frame)
  }

  /** A laptop that slept has a socket that looks open and is dead. */
  private watchForSilence(): void {
    clearTimeout(this.silence)
    this.silence = setTimeout(() => {
      const socket = this.socket
      this.socket = undefined
      socket?.close()
      void this.closed()
    }, SILENCE_MS)
  }

  private async closed(): Promise<void> {
    this.onStatus('lost')
    // A browser does not say why a socket was refused; a plain request does.
    const refused = await fetch(new URL('api/v1/boxes/_hub', document.baseURI), { method: 'GET' }).then(
      (answer) => answer.status === 401 || answer.status === 403,
      () => false,
    )
    if (refused) {
      this.onStatus('refused')
      return
    }
    setTimeout(() => this.open(), this.retryMs * (0.75 + Math.random() / 2))
    this.retryMs = Math.min(this.retryMs * 2, LONGEST_RETRY_MS)
  }
}
