export { Backoff } from '../backoff.js';
