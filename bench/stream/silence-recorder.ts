import type { Silence } from '../../demo/messages.js';
import { Recorder } from '../../demo/recorder.js';

/** Records each silence of each stream, besides what the demo does. */
export class SilenceRecorder extends Recorder {
  #silences: Silence[] = [];

  override received(stream: number, bytes: number, silences: readonly Silence[]): void {
    super.received(stream, bytes, silences);
    this.#silences.push(...silences);
  }

  forget(): void {
    this.#silences = [];
  }

  /** The longest silence that reached into this time, from its begin to its end; 0 if there was none that is worth a report. */
  longestMs(fromMs: number, untilMs: number): number {
    const within = this.#silences.filter(([beganMs, endedMs]) => endedMs > fromMs && beganMs < untilMs);
    return Math.max(0, ...within.map(([beganMs, endedMs]) => endedMs - beganMs));
  }
}
